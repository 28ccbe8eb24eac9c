#pragma once
#include <span>
#include <vector>

#include "tangram/jacobian/output.hpp"
#include "tangram/model/network_passes.hpp"
#include "tangram/text/data_set.hpp"

namespace tangram {

/// Examples that go through the model together on a thread: arithmetic::examples_per_block sequences, or
/// fewer where the activations of the longest and their gradients would take more than
/// arithmetic::block_bytes; at least one example's. Local.
Index examples_per_block(const DataSet& data, const Program& program, Index entry_bytes);

/// Where blocks of examples begin in a list of them, and its end. Local.
/// @param together  examples of a block
/// @param tokens    0, or: of as many examples as have no more tokens together, at least one
std::vector<Index> block_starts(const DataSet& data, std::span<const Index> examples, Index together,
                                Index tokens);

/// The sequences of some examples as one block, example after example. Local.
TokenBlock token_block(const DataSet& data, std::span<const Index> examples);

/// The sequences of an example that one of its gradients sums over, [first, last).
/// @param pass  row p / components and component p % components, as KernelOutputs::seeds has it
RowRange sequences_of(const DataSet& data, const KernelOutputs& outputs, Index example, Index pass);

/// Backward passes that an example's gradients come from: one where its sequences stand side by side in it.
Index backward_passes(const DataSet& data, const KernelOutputs& outputs);

/// Their rows in a row set. Local.
Index gradient_rows(const DataSet& data, const KernelOutputs& outputs, RowSet set, Index example, Index pass);

}  // namespace tangram
