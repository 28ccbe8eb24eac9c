#include "tangram/jacobian/held_factors.hpp"

#include <algorithm>

namespace tangram {

template <class Real>
HeldFactors<Real>::HeldFactors(Network<Real>& network, const DataSet& data, const KernelOutputs& outputs,
                               std::vector<Index> examples)
    : network_(&network), data_(&data), outputs_(&outputs), examples_(std::move(examples)) {
    for (const Index example : examples_) passed_ += data.passed(example);
}

template <class Real>
void HeldFactors<Real>::load(KeptParameters kept, const PassProgress& progress) {
    factors_.reset();  // before the next ones are allocated
    factors_.emplace(*network_, *data_, examples_, *outputs_, std::move(kept), progress);
}

template <class Real>
Index HeldFactors<Real>::place(Index example) const {
    return std::lower_bound(examples_.begin(), examples_.end(), example) - examples_.begin();
}

template class HeldFactors<float>;
template class HeldFactors<double>;

}  // namespace tangram
