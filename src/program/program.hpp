#pragma once
#include <exception>
#include <optional>

#include "tangram/parallel/stop_flag.hpp"

namespace tangram {

/// What ended the program: its exit status and the one message. Of the message nothing is allocated; it lives
/// as long as the exception.
struct Failure {
    int status;
    const char* message;
};
Failure failure_of(const std::exception_ptr& exception);
/// Prints what `--help`, `--version` or `help` ask for and returns the exit status; nothing for every other
/// command line, and for one that is wrong. Local; needs no MPI.
/// @param speaks  whether this rank prints
std::optional<int> answer_without_mpi(int argc, char** argv, bool speaks);

/// The program `tangram`: reads the command line, runs the command on all ranks of MPI_COMM_WORLD and returns
/// the exit status (`tangram help status`). MPI must be initialised. Throws what main() turns into a message.
/// @param stop  gets the deadline of --time-limit
int run_program(int argc, char** argv, StopFlag& stop);

}  // namespace tangram
