#include "tile_contraction.hpp"

namespace tangram {

Index ContractionKind::entries(const Slice& slice, const TileForm& form) const {
    Index sum = 0;
    for (const Segment& segment : slice.segments) sum += entries(segment, form);
    return sum * slice.copies();
}

template <class Real>
const TileContraction<Real>& tile_contraction(Contraction contraction) {
    switch (contraction) {
        case Contraction::factors:
            return in_factors<Real>();
        case Contraction::matching_rows:
            return matching_rows<Real>();
        case Contraction::multiply_out:
        case Contraction::sketched:
            break;
    }
    return multiplied_out<Real>();
}

template const TileContraction<float>& tile_contraction(Contraction);
template const TileContraction<double>& tile_contraction(Contraction);

const ContractionKind& contraction_kind(Contraction contraction) {
    return tile_contraction<float>(contraction);
}

}  // namespace tangram
