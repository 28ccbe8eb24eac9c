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
    Error(ExitStatus status, const std::string& message)
        : std::runtime_error(printable(message)), status_(status) {}
    ExitStatus status() const noexcept { return status_; }

  private:
    ExitStatus status_;
};

}  // namespace tangram
