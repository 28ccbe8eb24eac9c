#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tangram/model/initial_weights.hpp"
#include "tangram/model/program.hpp"

namespace tangram {

/// A program with its weights in one precision and the label words whose logits are its outputs: what the
/// threads that run a model share. Local.
template <class Real>
class NetworkWeights {
  public:
    /// Takes every parameter of the program from `source`; a placeholder's tensors (InitialWeights) share
    /// their memory.
    /// @param label_ids  C vocabulary ids whose logits are the outputs
    /// @throws Error(input) naming file and tensor that is missing, of another shape or non-finite, or a
    /// second copy of a tied tensor that differs
    NetworkWeights(Program program, const InitialWeights& source, std::vector<std::int32_t> label_ids);

    const Program& program() const { return program_; }
    const std::vector<std::int32_t>& label_ids() const { return label_ids_; }
    /// The values of a parameter, in the order of its shape.
    const Real* operator[](ParameterId parameter) const { return tensors_[parameter].data; }
    /// The same from here on in a copy that may be changed, while nothing runs.
    std::span<Real> changeable(ParameterId parameter);

  private:
    /// In the checkpoint's memory map, which ranks of a node share, in the placeholder, or a copy.
    struct Tensor {
        const Real* data;
        std::vector<Real> copy;
    };

    void make_placeholder(double deviation);
    void check_copies(const InitialWeights& source) const;

    Program program_;
    std::vector<std::int32_t> label_ids_;
    std::vector<Tensor> tensors_;       // by parameter
    std::shared_ptr<const void> held_;  // what the tensors that are no copies stand in
};

extern template class NetworkWeights<float>;
extern template class NetworkWeights<double>;

}  // namespace tangram
