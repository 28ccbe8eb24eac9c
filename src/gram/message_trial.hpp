#pragma once
#include "tangram/gram/product_back_end.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {

/// Lets every rank's back end form a tile that messages carry to the next rank's, a short and a long one, and
/// multiply what arrives: an MPI that cannot reach its memory is found out before a kernel is begun. Nothing
/// where a back end has little memory, or no room for factors. What it takes is given back. Collective over
/// `messages`; they reach all back ends.
/// @throws Error(numerical) naming a back end that has other sums than those of the tiles that were sent
void try_messages(const Communicator& messages, ProductBackEnd& back_end);

}  // namespace tangram
