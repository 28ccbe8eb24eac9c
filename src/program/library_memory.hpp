#pragma once

namespace tangram {

/// Has the libraries take now what they would not take in good order later: the threads of OpenMP, whose lack
/// ends the program without its word, and the buffer of OpenBLAS (128 MiB of addresses), which it asks for
/// without end where it gets none. Both are kept. Local. @throws std::bad_alloc where there is no room,
/// Error(study) for more threads than could be of use
void take_library_memory();

}  // namespace tangram
