#pragma once
#include <stdexcept>
#include <string>

namespace tangram {

/// Exit statuses of the program. 0 is success; `compare` uses 1 for "different".
enum class ExitStatus : int {
    study = 2,      ///< study missing or wrong, plan does not fit
    input = 3,      ///< model or data file missing or wrong
    numerical = 4,  ///< non-finite gradient, no convergence, failed verify
    output = 5,     ///< output or checkpoint cannot be written or read
    stopped = 75,   ///< stopped on purpose after writing a checkpoint
};

/// What is wrong, apart from where: the status says whose side it is on. Tests match it, messages say the
/// rest.
enum class ErrorKind : int {
    missing,        ///< a file, key, column, tensor or group that is needed is not there
    unknown_name,   ///< a key, command, option, choice, label or group that nobody knows
    malformed,      ///< not what it should be: damaged, torn, wrong syntax, wrong type
    out_of_range,   ///< of the right type, and too small, too large or impossible
    contradiction,  ///< two things that exclude each other: keys, shapes, sizes, runs
    unsupported,    ///< valid, and not served
    too_few,        ///< fewer examples, eigenvalues or sizes than are needed
    non_finite,     ///< NaN or infinity
    degenerate,     ///< zero or empty where something is needed: a kernel, a residual, a text
    no_memory,      ///< does not fit, or an allocation failed
    no_access,      ///< the system refused to open, read or write: permissions, disk full, input/output error
    in_use,         ///< open in, or locked by, another process
    changed,        ///< an input or a result is not the one from before
    not_converged,  ///< an iteration or a solver
    failed_check,   ///< a result that does not hold what it must hold
    library,        ///< MPI, BLACS, ELPA, HDF5, OpenSSL or ICU failed and says no more
    stopped,        ///< on purpose
};

/// The text with control characters in hexadecimal (a line's end stays): names come from other people's files
/// and messages go to terminals.
inline std::string printable(const std::string& text) {
    std::string shown;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if ((byte >= 0x20 && byte != 0x7f) || c == '\n')
            shown += c;
        else
            for (const char part : {'\\', 'x', "0123456789abcdef"[byte >> 4], "0123456789abcdef"[byte & 15]})
                shown += part;
    }
    return shown;
}

/// What a user can cause. The message names the file, key, tensor, line or example and says what to do.
/// Under MPI it is thrown on all ranks of the communicator or on none (parallel/collective_error.hpp).
class Error : public std::runtime_error {
  public:
    Error(ExitStatus status, ErrorKind kind, const std::string& message)
        : std::runtime_error(printable(message)), status_(status), kind_(kind) {}
    ExitStatus status() const noexcept { return status_; }
    ErrorKind kind() const noexcept { return kind_; }

  private:
    ExitStatus status_;
    ErrorKind kind_;
};

}  // namespace tangram
