#pragma once
#include <functional>
#include <vector>

#include "tangram/jacobian/contraction.hpp"

namespace tangram {

/// Some parameters of one tensor in one component of the kernel's output. Multiplied out: [first, last) of
/// the tensor's storage; matching rows: columns of the table; factors: the whole.
struct Segment {
    std::size_t selected;  ///< place among the selected parameters
    ParameterId parameter;
    Index component, first, last;
    bool ends_parameter;  ///< nothing of this tensor comes after it

    Index depth() const { return last - first; }
};

/// What is exchanged at once and then added: segments that are contracted alike, in the order in which they
/// are added. Follows from the program and the contractions alone. Sketched tensors, projected, are
/// multiplied out like all others.
struct Slice {
    Contraction contraction;
    std::vector<Segment> segments;
    std::size_t place = 0;  ///< of the formula that it is for
    Formula formula = Formula::sgd;
    double pair_flops = 0;  ///< for one pair of rows, as ContractionChoice counts them

    /// Packed one behind the other: for an asymmetric kernel the plain entries of a segment, then their
    /// signs.
    Index copies() const { return formula == Formula::asymmetric_signgd ? 2 : 1; }
};

/// The slices of all formulas; those of one formula in its fixed order, those of one tensor near each other.
std::vector<Slice> slices_of(const Program& program, const std::vector<ParameterId>& parameters,
                             const std::vector<KernelFormula>& formulas, Index components,
                             Index sketch_dimension);

/// Slices [first, last), whose factors a rank holds at the same time, and their parameters.
struct SliceGroup {
    Index first, last;
    std::vector<ParameterId> parameters;
};

/// As many consecutive slices in each group as `fits` (of their parameters' factors) allows, at least one.
std::vector<SliceGroup> groups_of(const std::vector<Slice>& slices,
                                  const std::function<bool(const std::vector<ParameterId>&)>& fits);

}  // namespace tangram
