#pragma once
#include "tangram/parallel/stop_flag.hpp"

namespace tangram {

/// The program `tangram`: reads the command line, runs the command on all ranks of MPI_COMM_WORLD and returns
/// the exit status (`tangram help status`). MPI must be initialised. Throws what main() turns into a message.
/// @param stop  gets the deadline of --time-limit
int run_program(int argc, char** argv, StopFlag& stop);

}  // namespace tangram
