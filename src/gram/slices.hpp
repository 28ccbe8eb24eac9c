#pragma once
#include <vector>

#include "tangram/jacobian/contraction.hpp"
#include "tangram/jacobian/factor_bytes.hpp"

namespace tangram {

/// Some parameters of one tensor in one component of the kernel's output. Multiplied out: [first, last) of
/// the tensor's storage; matching rows: columns of the table; factors: the whole.
struct Segment {
    std::size_t selected;  ///< place among the selected parameters
    ParameterId parameter;
    Index component, first, last;
    bool ends_parameter;                     ///< nothing of this tensor comes after it
    Index delta_width = 0, input_width = 0;  ///< d_out and d_in of a linear weight
    /// In factors: [first, last) are rows of a table over the vocabulary, and delta_width their number.
    bool vocabulary = false;

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
    Index depth() const;  ///< of all segments
};

/// How the tensors of a formula are cut.
struct TensorCuts {
    Index rows;              ///< of the kernel, those of the test kernel included
    Index components;        ///< of its output
    Index sketch_dimension;  ///< of the tensors whose choice is `sketched`
};

/// The slices of all formulas; those of one formula in its fixed order, those of one tensor near each other.
/// A large tensor's are kept as one of them and their number.
class Slices {
  public:
    Slices(const Program& program, const std::vector<ParameterId>& parameters,
           const std::vector<KernelFormula>& formulas, const TensorCuts& cuts);

    /// Slices first, first + 1, ... that differ in where their only segment stands, or one slice.
    struct Run {
        Slice slice;  ///< the first of them
        Index count = 1;
        Index first = 0;
    };
    const std::vector<Run>& runs() const { return runs_; }
    Index count() const { return runs_.empty() ? 0 : runs_.back().first + runs_.back().count; }
    Slice operator[](Index u) const;
    /// The run that slice u stands in; allocates nothing.
    const Run& run_of(Index u) const;

  private:
    std::vector<Run> runs_;
};

/// Slices [first, last), whose factors a rank holds at the same time, and their parameters, ascending.
struct SliceGroup {
    Index first, last;
    std::vector<ParameterId> parameters;
    Index bytes;  ///< of their factors
};

/// As many consecutive slices in each group as `limit` bytes of factors allow, at least one and all that need
/// no other factors.
std::vector<SliceGroup> groups_of(const Slices& slices, const FactorBytes& bytes, double limit);

}  // namespace tangram
