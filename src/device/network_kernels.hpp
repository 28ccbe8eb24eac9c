#pragma once
#include <variant>

#include "entry_kernels.hpp"
#include "product_kernels.hpp"
#include "row_kernels.hpp"

/// The kernels that forward and backward passes of a network are made of. As in tile_kernel.hpp they are
/// written in phases, and the sums of each entry run in the host's order (src/model/operations.hpp): chains
/// of fused multiply-adds in ascending k, sixteen running sums that are added pairwise. Pointers are to the
/// memory of what runs them.
namespace tangram::device {

/// All of them in one precision. Each holds None or arrays as Memory and Registers, blocks(), and
/// run(block, b).
template <class Real>
using NetworkKernel = std::variant<
    ForEntries<Products<Real>>, ForEntries<WeightedSums<Real>>, ForEntries<Multiples<Real>>,
    ForEntries<Zeros<Real>>, ForEntries<Activations<Real>>, ForEntries<TableRows<Real>>,
    ForEntries<CopiedColumns<Real>>, ForEntries<ColumnGradients<Real>>, ForEntries<Rotations<Real>>,
    ForEntries<ReadGradients<Real>>, ForEntries<TokenMeans<Real>>, ForEntries<MeanGradients<Real>>,
    ForEntries<LabelGradients<Real>>, ForEntries<VectorSums<Real>>, ForEntries<AttentionWeights<Real>>,
    ForEntries<ScoreGradients<Real>>, ForEntries<TokenSlopes<Real>>, ForEntries<TokenProbabilities<Real>>,
    ForEntries<LeftRows<Real>>, Norms<Real>, NormGradients<Real>, LabelProducts<Real>, VocabularySums<Real>,
    TiledProducts<Real, WholeProduct<Real, Real>>, TiledProducts<Real, WholeProduct<Real, Half>>,
    TiledProducts<Real, WholeProduct<Real, BrainFloat>>, TiledProducts<Real, KeyProducts<Real>>,
    TiledProducts<Real, HeadSums<Real, Over::keys>>, TiledProducts<Real, HeadSums<Real, Over::queries>>>;

}  // namespace tangram::device
