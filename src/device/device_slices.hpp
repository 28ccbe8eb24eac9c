#pragma once
#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "device_factors.hpp"
#include "factor_kernel.hpp"
#include "match_kernel.hpp"
#include "runtime.hpp"

namespace tangram::device {

/// Bytes of a tile, or of a buffer.
struct Bytes {
    std::size_t first, last;
};

/// A tile in a slice's buffer, and those of its bytes that come from the host.
struct TilePlace {
    std::size_t at, bytes;
    bool packed_here;  ///< else another rank packs it
    std::vector<Bytes> of_host;
};

/// A slice in the device's memory.
struct SliceOnDevice {
    const std::byte* lists = nullptr;
    std::byte* at = nullptr;
    std::vector<std::size_t> pieces, ends;        ///< where lists begin; ends of parameters
    std::map<const void*, TilePlace> tiles = {};  ///< by where they stand on the host
    bool messages_arrive = false;                 ///< others' tiles never stand on the host
};

/// A tile in factors in the device's memory.
template <class Real>
struct TokensOnDevice {
    const Real* entries;
    const RowTokens* rows;
    const ChunkOnDevice* chunks_there;
    std::vector<ChunkOnDevice> chunks;  ///< the same on the host
};

/// Lists of a slice, and where each begins.
struct SliceLists {
    std::vector<std::byte> bytes;
    std::vector<std::size_t> at;
    template <class List>
    void add(const List& list) {
        const auto of = std::as_bytes(std::span(list));
        at.push_back(Layout::rounded(bytes.size()));
        bytes.resize(at.back() + of.size());
        std::ranges::copy(of, bytes.begin() + static_cast<std::ptrdiff_t>(at.back()));
    }
};

/// Slices on a device, in two buffers that take turns: while one is multiplied the next one is formed there,
/// or sent. All is done in Stream::copies; throws as the runtime.
class DeviceSlices {
  public:
    /// @param staged     of the host; in use until Stream::copies is waited for
    /// @param make_room  called before a buffer grows to so many bytes
    DeviceSlices(Runtime& runtime, Buffer& staged, std::function<void(std::size_t)> make_room)
        : runtime_(&runtime), staged_(&staged), make_room_(std::move(make_room)) {}

    /// Bytes of the larger buffer.
    std::size_t largest() const { return std::max(slices_[0].bytes(), slices_[1].bytes()); }
    template <class Real>
    static std::size_t bytes_of(const SliceToPack<Real>& slice);
    /// Begins to form the outer segments of a slice whose factors are held, and to bring home those that go
    /// there: it is the next one that is sent.
    template <class Real>
    void form(const SliceToPack<Real>& slice, DeviceFactors& factors);
    /// Until they are home.
    void take_home();
    /// Until all of what is packed here is there, too: messages carry the slice's tiles from there to there.
    /// @param homes  of some tiles @return where they stand
    std::vector<std::byte*> places_for_messages(std::span<const void* const> homes);
    /// Begins the copy of what of a slice stands on the host.
    /// @param between  called now and then
    template <class Real>
    SliceOnDevice send(const SliceProducts<Real>& slice, const std::function<void()>& between);
    template <class Real>
    std::vector<TokensOnDevice<Real>> send(const FactorProducts<Real>& slice,
                                           const std::function<void()>& between);
    template <class Real>
    std::vector<MatchesOnDevice<Real>> send(const MatchProducts<Real>& slice,
                                            const std::function<void()>& between);
    /// The slice that was formed is not sent.
    void forget() noexcept {
        packed_.reset();
        going_home_.clear();
    }
    /// Gives all memory back.
    void release() noexcept;

  private:
    /// Part of a slice at `at`, which take_home() copies from staged_slice_; of one in factors, which may be
    /// larger than slices that are multiplied out, piece by piece.
    struct GoingHome {
        std::byte* home;
        std::size_t at, staged, bytes;
    };
    void copy_home(const GoingHome& part);
    std::byte* next_buffer(std::size_t bytes);
    template <class Tile>
    std::optional<SliceOnDevice> formed(std::span<const Tile> tiles);
    template <class Real>
    SliceOnDevice place(const SliceProducts<Real>& slice);
    void send_tiles(const std::vector<const void*>& homes, SliceOnDevice& to);
    const std::byte* send_lists(const SliceLists& lists);
    template <class Real, class Tile>
    std::vector<const Real*> send_formed_or_packed(std::span<const Tile> tiles,
                                                   const std::function<void()>& between);
    template <class Real, class Tile>
    std::vector<const Real*> send_entries_of(std::span<const Tile> tiles,
                                             const std::function<void()>& between);
    void send_entries(std::span<const std::byte> from, std::byte* to, const std::function<void()>& between);

    Runtime* runtime_;
    Buffer* staged_;
    std::function<void(std::size_t)> make_room_;
    std::size_t turn_ = 0;
    std::array<Buffer, 2> slices_{Buffer(*runtime_, Memory::device), Buffer(*runtime_, Memory::device)};
    std::array<Buffer, 2> lists_{Buffer(*runtime_, Memory::device), Buffer(*runtime_, Memory::device)};
    Buffer staged_lists_{*runtime_, Memory::pinned}, staged_slice_{*runtime_, Memory::pinned};
    std::optional<SliceOnDevice> packed_;  // the next one to be sent
    std::vector<GoingHome> going_home_;
    bool home_in_pieces_ = false;
};

}  // namespace tangram::device
