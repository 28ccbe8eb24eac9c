#pragma once
#include <set>
#include <vector>

#include "tangram/jacobian/sketch.hpp"
#include "tangram/model/network.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// The bytes that JacobianFactors hold of some examples, a parameter at a time. Local; nothing is allocated.
/// The program outlives the object.
class FactorBytes {
  public:
    /// Rows of the examples, backward passes and gradients of each example, bytes of an entry.
    struct Shape {
        PassedRows rows;
        Index passes, gradients, entry_bytes;
    };
    FactorBytes(const Program& program, const Shape& shape, const Sketch& sketch = {});

    /// What is held for some parameters.
    struct Held {
        std::set<ParameterId> parameters;
        std::set<std::size_t> inputs, deltas;  ///< values whose rows are kept whole
        Index bytes = 0;                       ///< with the sketch's random matrices
    };
    /// The factors of one parameter beside those that are held; a parameter that is held adds nothing.
    void add(Held& held, ParameterId parameter) const;
    /// Of a list of parameters.
    Index of(const std::vector<ParameterId>& parameters) const;

  private:
    Index whole_rows(std::size_t value) const;
    Index projected_side(Value value, Index k, Index times) const;

    const Program* program_;
    Shape shape_;
    Sketch sketch_;
    std::vector<std::vector<Factor>> factors_;  // by parameter
};

}  // namespace tangram
