#pragma once
#include <map>

#include "multiply_out_kernel.hpp"
#include "runtime.hpp"
#include "tangram/model/factor_memory.hpp"

namespace tangram::device {

/// Tokens of a chunk, with padding.
inline Index padded_tokens(const TokenChunk& chunk, Index panel_rows) {
    return (chunk.tokens + panel_rows - 1) / panel_rows * panel_rows;
}

/// Factors on a device, where they stay until they make room or are forgotten, and what forms packed tiles of
/// them. Rows begin on 16 bytes there. Those that passes have left stand there alone until they
/// come home. All is done in Stream::copies; throws as the runtime.
class DeviceFactors {
  public:
    explicit DeviceFactors(Runtime& runtime)
        : runtime_(&runtime), lists_(runtime, Memory::device), staged_lists_(runtime, Memory::pinned) {}

    /// Bytes of the device's memory that are taken.
    std::size_t bytes() const;
    /// Bytes that a slice takes beside what is held.
    template <class Real>
    std::size_t missing(const SliceToPack<Real>& slice) const;
    /// Copies what a slice needs and is not held. @param staged  of the host; free when it returns
    template <class Real>
    void hold(const SliceToPack<Real>& slice, Buffer& staged);
    /// Begins the kernels that form a slice whose factors are held.
    /// @param tiles  where the tiles stand in the device's memory
    template <class Real>
    void form(const SliceToPack<Real>& slice, const std::vector<Real*>& tiles) {
        slice.in_factors ? pack_tokens(slice, tiles) : multiply_out(slice, tiles);
    }
    /// Room for rows that passes will leave; nothing of them is at home.
    template <class Real>
    RowsThere<Real> room_for(Real* home, Index rows, Index width);
    template <class Real>
    static std::size_t bytes_of(Index rows, Index width);
    /// Rows that are not home are then; what has another address or is home is left alone.
    /// @param staged  as hold() has it
    void bring_home(const void* home, Buffer& staged);
    /// Gives everything back, behind bringing it home.
    void make_way(Buffer& staged) {
        for (const auto& [home, held] : held_) bring_home(home, staged);
        forget();
    }
    void forget(const void* home) noexcept { held_.erase(home); }
    /// Gives everything back.
    void forget() noexcept {
        held_.clear();
        lists_.release();
        staged_lists_.release();
    }

  private:
    /// Rows of the host on the device.
    struct Held {
        Buffer buffer;
        Index width, stride;  ///< of a row here and there
        std::byte* to;        ///< their home while they are not there; nullptr: they are
        std::size_t entry_bytes = 0;
    };
    template <class Real>
    void copy(const FactorRows<Real>& rows, std::byte* to, Buffer& staged);
    template <class Real>
    const Real* on_device(const Real* row) const;
    template <class Real>
    void multiply_out(const SliceToPack<Real>& slice, const std::vector<Real*>& tiles);
    template <class Real>
    void pack_tokens(const SliceToPack<Real>& slice, const std::vector<Real*>& tiles);
    /// Begins the copy of what blocks read, and of the blocks behind it. @return where those stand
    template <class Row, class Work>
    const Work* send_lists(const std::vector<Row>& rows, const std::vector<Work>& blocks);

    Runtime* runtime_;
    std::map<const void*, Held> held_;  // by the address of the first row
    Buffer lists_, staged_lists_;       // rows, or tokens, of all tiles, then the work of all blocks
};

}  // namespace tangram::device
