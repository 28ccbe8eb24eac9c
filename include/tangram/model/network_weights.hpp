#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "tangram/files/stored_entries.hpp"
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
    /// A matrix [d_out, d_in]: in the checkpoint's memory map, which the ranks of a host share, in whatever
    /// type the file has; in other memory that they share; else a copy, or the placeholder.
    const StoredMatrix& matrix(ParameterId parameter) const { return tensors_[parameter].matrix; }
    /// The entries of a vector, or of a parameter that was made changeable.
    /// @throws std::logic_error for a matrix that stands in the file
    const Real* values(ParameterId parameter) const;
    /// The same from here on in a copy that may be changed, in the order of the parameter's shape, while
    /// nothing runs.
    std::span<Real> changeable(ParameterId parameter);

  private:
    struct Tensor {
        StoredMatrix matrix;     // of a vector: one row
        std::vector<Real> copy;  // what `matrix` is, where that is no file
    };

    void hold(Tensor& tensor, const Parameter& parameter, std::vector<Real> values);
    void make_placeholder(double deviation);
    void check_copies(const InitialWeights& source) const;

    Program program_;
    std::vector<std::int32_t> label_ids_;
    std::vector<Tensor> tensors_;                    // by parameter
    std::vector<std::shared_ptr<const void>> held_;  // what the tensors that are no copies stand in
};

extern template class NetworkWeights<float>;
extern template class NetworkWeights<double>;

}  // namespace tangram
