#pragma once
#include <array>

#include "runtime.hpp"

namespace tangram::device {

/// Of the host's memory, on all OpenMP threads.
void copy_on_all_threads(std::byte* to, const std::byte* from, std::size_t bytes);

/// Copies between the host's memory, of any kind, and the device's, through two pinned buffers that take
/// turns: while one is on its way, all threads fill or empty the other one (from and to memory that is not
/// pinned CUDA copies on one). Each waits until it has ended; nothing else may be under way in either stream.
/// Throws as the runtime.
class StagedCopies {
  public:
    /// @param at_once  bytes of a buffer
    explicit StagedCopies(Runtime& runtime, std::size_t at_once = std::size_t{1} << 25)
        : runtime_(&runtime), at_once_(at_once) {}

    /// Allocates both buffers.
    void prepare();
    void to_device(std::byte* to, const std::byte* from, std::size_t bytes);
    void to_host(std::byte* to, const std::byte* from, std::size_t bytes);

  private:
    std::byte* reserve(std::size_t part, std::size_t bytes);

    Runtime* runtime_;
    std::size_t at_once_;
    std::array<Buffer, 2> staged_{Buffer(*runtime_, Memory::pinned), Buffer(*runtime_, Memory::pinned)};
};

}  // namespace tangram::device
