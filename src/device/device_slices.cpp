#include "device_slices.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "staged_copies.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram::device {

namespace {

/// What of a tile is formed on the device, and what is not, each as few runs.
template <class Real>
std::pair<std::vector<Bytes>, std::vector<Bytes>> formed_and_not(const SliceToPack<Real>& slice,
                                                                 const TileToPack<Real>& tile) {
    std::pair<std::vector<Bytes>, std::vector<Bytes>> of;
    auto& [formed, not_formed] = of;
    if (tile.factors.empty()) return {{}, {{0, tile.entries.size_bytes()}}};
    if (slice.in_factors) return {{{0, tile.entries.size_bytes()}}, {}};
    std::size_t end = 0;
    const auto bytes = [&](Index parameters) {
        return sizeof(Real) * static_cast<std::size_t>(parameters * tile.padded_rows);
    };
    for (const OuterSegment& segment : slice.segments) {
        const std::size_t first = bytes(segment.before), last = first + bytes(slice.copies * segment.depth);
        if (first > end) not_formed.push_back({end, first});
        if (!formed.empty() && formed.back().last == first)
            formed.back().last = last;
        else
            formed.push_back({first, last});
        end = last;
    }
    if (end < tile.entries.size_bytes()) not_formed.push_back({end, tile.entries.size_bytes()});
    return of;
}

template <class Real>
std::vector<RowTokens> rows_of(const PackedTokens<Real>& tile) {
    std::vector<RowTokens> rows;
    for (const TokenChunk& chunk : tile.chunks)
        for (Index first = 0, row = chunk.first_row; row < chunk.last_row; ++row) {
            rows.push_back({first, tile.row_tokens[static_cast<std::size_t>(row)]});
            first += rows.back().count;
        }
    return rows;
}

template <class Real>
std::vector<ChunkOnDevice> chunks_of(const PackedTokens<Real>& tile, Index panel_rows) {
    std::vector<ChunkOnDevice> chunks;
    Index before = 0;
    for (const TokenChunk& chunk : tile.chunks) {
        if (chunk.tokens > chunk_tokens) throw std::logic_error("a chunk has more tokens than a block");
        const Index padded = padded_tokens(chunk, panel_rows);
        chunks.push_back({chunk.first_row, chunk.last_row, before, padded});
        before += padded;
    }
    return chunks;
}

}  // namespace

/// The buffer that the last slice is not in: what was multiplied from it has ended, as the last one began
/// behind it.
std::byte* DeviceSlices::next_buffer(std::size_t bytes) {
    turn_ = 1 - turn_;
    runtime_->wait(Stream::copies);
    if (bytes > slices_[turn_].bytes()) make_room_(bytes);
    return slices_[turn_].reserve(bytes);
}

template <class Real>
std::size_t DeviceSlices::bytes_of(const SliceToPack<Real>& slice) {
    Layout places;
    for (const TileToPack<Real>& tile : slice.tiles) places.add(tile.entries.size_bytes());
    return places.bytes();
}

/// Places for all tiles in the buffer that the last slice is not in (what was multiplied from it has ended),
/// and the kernels; those tiles that go home behind them.
template <class Real>
void DeviceSlices::form(const SliceToPack<Real>& slice, DeviceFactors& factors) {
    Layout places;
    SliceOnDevice to;
    std::size_t home_bytes = 0;
    for (const TileToPack<Real>& tile : slice.tiles) {
        auto [formed, not_formed] = formed_and_not(slice, tile);
        const std::size_t at = places.add(tile.entries.size_bytes());
        to.tiles[tile.entries.data()] = {at, tile.entries.size_bytes(), !tile.factors.empty(),
                                         std::move(not_formed)};
        for (const auto& [first, last] : formed) {
            if (!tile.goes_home) continue;
            going_home_.push_back({reinterpret_cast<std::byte*>(tile.entries.data()) + first, at + first,
                                   home_bytes, last - first});
            home_bytes += last - first;
        }
    }
    to.at = next_buffer(places.bytes());
    home_in_pieces_ = slice.in_factors;
    std::byte* const staged = home_in_pieces_ ? nullptr : staged_slice_.reserve(home_bytes);
    std::vector<Real*> tiles;
    for (const TileToPack<Real>& tile : slice.tiles)
        tiles.push_back(reinterpret_cast<Real*>(to.at + to.tiles.at(tile.entries.data()).at));
    factors.form(slice, tiles);
    for (const GoingHome& part : going_home_)
        if (!home_in_pieces_)
            runtime_->copy(staged + part.staged, to.at + part.at, part.bytes, Stream::copies);
    packed_ = std::move(to);
}

void DeviceSlices::take_home() {
    if (going_home_.empty()) return;
    runtime_->wait(Stream::copies);
    if (home_in_pieces_)
        for (const GoingHome& part : going_home_) copy_home(part);
    else
        parallel_for(std::ssize(going_home_), [&](Index i) {
            const GoingHome& part = going_home_[static_cast<std::size_t>(i)];
            std::memcpy(part.home, staged_slice_.data() + part.staged, part.bytes);
        });
    going_home_.clear();
}

void DeviceSlices::copy_home(const GoingHome& part) {
    constexpr auto at_once = static_cast<std::size_t>(staged_sum_bytes);
    for (std::size_t first = 0; first < part.bytes; first += at_once) {
        const std::size_t count = std::min(at_once, part.bytes - first);
        std::byte* const staged = staged_->reserve(count);
        runtime_->copy(staged, packed_->at + part.at + first, count, Stream::copies);
        runtime_->wait(Stream::copies);
        copy_on_all_threads(part.home + first, staged, count);
    }
}

std::vector<std::byte*> DeviceSlices::places_for_messages(std::span<const void* const> homes) {
    if (!packed_) throw std::logic_error("messages find no slice that was formed");
    packed_->messages_arrive = true;
    std::vector<const void*> packed_here;
    for (auto& [home, tile] : packed_->tiles)
        if (tile.packed_here)
            packed_here.push_back(home);
        else
            tile.of_host.clear();
    send_tiles(packed_here, *packed_);
    runtime_->wait(Stream::copies);
    std::vector<std::byte*> places;
    for (const void* const home : homes) places.push_back(packed_->at + packed_->tiles.at(home).at);
    return places;
}

/// The slice that begin_packing() has formed, if these are its tiles.
template <class Tile>
std::optional<SliceOnDevice> DeviceSlices::formed(std::span<const Tile> tiles) {
    std::optional<SliceOnDevice> to = std::exchange(packed_, std::nullopt);
    if (!to) return to;
    const auto is_of_it = [&](const Tile& tile) {
        const auto place = to->tiles.find(tile.entries.data());
        return place != to->tiles.end() && place->second.bytes == tile.entries.size_bytes();
    };
    if (std::ranges::all_of(tiles, is_of_it)) return to;
    if (to->messages_arrive) throw std::logic_error("a slice lacks tiles that messages have left here");
    return std::nullopt;
}

/// It, or places for one that is packed on the host.
template <class Real>
SliceOnDevice DeviceSlices::place(const SliceProducts<Real>& slice) {
    if (auto of = formed(slice.tiles)) return std::move(*of);
    SliceOnDevice to;
    Layout places;
    for (const PackedRows<Real>& tile : slice.tiles)
        to.tiles[tile.entries.data()] = {places.add(tile.entries.size_bytes()),
                                         tile.entries.size_bytes(),
                                         true,
                                         {{0, tile.entries.size_bytes()}}};
    to.at = next_buffer(places.bytes());
    return to;
}

/// Begins the copy of pieces, and of what of the tiles stands on the host.
template <class Real>
SliceOnDevice DeviceSlices::send(const SliceProducts<Real>& slice, const std::function<void()>&) {
    SliceOnDevice to = place(slice);
    SliceLists lists;
    for (const std::vector<ProductPiece>& list : slice.pieces) {
        lists.add(list);
        to.ends.push_back(
            static_cast<std::size_t>(std::ranges::count_if(list, &ProductPiece::ends_parameter)));
    }
    to.pieces = lists.at;
    to.lists = send_lists(lists);
    std::vector<const void*> homes;
    for (const PackedRows<Real>& tile : slice.tiles) homes.push_back(tile.entries.data());
    send_tiles(homes, to);
    return to;
}

/// What of some tiles stands on the host. Neighbours go together: what lies between tiles is nobody's.
void DeviceSlices::send_tiles(const std::vector<const void*>& homes, SliceOnDevice& to) {
    struct Part {
        const std::byte* from;
        std::size_t bytes;
        Bytes to;
        std::size_t staged;
    };
    std::vector<Part> parts;
    for (const void* const home : homes) {
        TilePlace& tile = to.tiles.at(home);
        for (const auto& [first, last] : std::exchange(tile.of_host, {}))
            parts.push_back({static_cast<const std::byte*>(home) + first,
                             last - first,
                             {tile.at + first, tile.at + (last == tile.bytes ? Layout::rounded(last) : last)},
                             0});
    }
    std::ranges::sort(parts, {}, [](const Part& part) { return part.to.first; });
    std::size_t staged_bytes = 0;
    for (Part& part : parts)
        part.staged = std::exchange(staged_bytes, staged_bytes + part.to.last - part.to.first);
    std::byte* const staged = staged_slice_.reserve(staged_bytes);
    parallel_for(std::ssize(parts), [&](Index i) {
        const Part& part = parts[static_cast<std::size_t>(i)];
        std::memcpy(staged + part.staged, part.from, part.bytes);
    });
    for (std::size_t p = 0; p < parts.size();) {
        const std::size_t from = parts[p].staged;
        Bytes run = parts[p++].to;
        while (p < parts.size() && parts[p].to.first == run.last) run.last = parts[p++].to.last;
        runtime_->copy(to.at + run.first, staged + from, run.last - run.first, Stream::copies);
    }
}

template <class Real>
std::vector<TokensOnDevice<Real>> DeviceSlices::send(const FactorProducts<Real>& slice,
                                                     const std::function<void()>& between) {
    SliceLists lists;
    std::vector<TokensOnDevice<Real>> tiles;
    for (const PackedTokens<Real>& tile : slice.tiles) {
        const std::vector<ChunkOnDevice> chunks = chunks_of(tile, slice.panel_rows);
        lists.add(rows_of(tile));
        lists.add(chunks);
        tiles.push_back({nullptr, nullptr, nullptr, chunks});
    }
    const std::vector<const Real*> entries = send_formed_or_packed<Real>(slice.tiles, between);
    const std::byte* const at = send_lists(lists);
    for (std::size_t t = 0; t < tiles.size(); ++t) {
        tiles[t].entries = entries[t];
        tiles[t].rows = reinterpret_cast<const RowTokens*>(at + lists.at[2 * t]);
        tiles[t].chunks_there = reinterpret_cast<const ChunkOnDevice*>(at + lists.at[2 * t + 1]);
    }
    return tiles;
}

template <class Real>
std::vector<MatchesOnDevice<Real>> DeviceSlices::send(const MatchProducts<Real>& slice,
                                                      const std::function<void()>& between) {
    SliceLists lists;
    for (const PackedMatches<Real>& tile : slice.tiles) {
        lists.add(tile.matches);
        lists.add(tile.matching_rows);
    }
    const std::vector<const Real*> entries = send_entries_of<Real>(slice.tiles, between);
    const std::byte* const at = send_lists(lists);
    std::vector<MatchesOnDevice<Real>> tiles;
    for (std::size_t t = 0; t < slice.tiles.size(); ++t)
        tiles.push_back({entries[t], reinterpret_cast<const MatchingRows*>(at + lists.at[2 * t]),
                         std::ssize(slice.tiles[t].matches),
                         reinterpret_cast<const Index*>(at + lists.at[2 * t + 1])});
    return tiles;
}

const std::byte* DeviceSlices::send_lists(const SliceLists& lists) {
    runtime_->wait(Stream::copies);
    std::byte* const to = lists_[turn_].reserve(lists.bytes.size());
    std::ranges::copy(lists.bytes, staged_lists_.reserve(lists.bytes.size()));
    runtime_->copy(to, staged_lists_.data(), lists.bytes.size(), Stream::copies);
    return to;
}

/// Of a slice that was formed, what stands on the host; all of another.
template <class Real, class Tile>
std::vector<const Real*> DeviceSlices::send_formed_or_packed(std::span<const Tile> tiles,
                                                             const std::function<void()>& between) {
    std::optional<SliceOnDevice> of = formed(tiles);
    if (!of) return send_entries_of<Real>(tiles, between);
    std::vector<const Real*> entries;
    for (const Tile& tile : tiles) {
        const TilePlace& place = of->tiles.at(tile.entries.data());
        entries.push_back(reinterpret_cast<const Real*>(of->at + place.at));
        for (const auto& [first, last] : place.of_host)
            send_entries(std::as_bytes(tile.entries).subspan(first, last - first), of->at + place.at + first,
                         between);
    }
    return entries;
}

/// Packed tiles to the buffer that the last slice is not in, in parts of what is on its way at once.
template <class Real, class Tile>
std::vector<const Real*> DeviceSlices::send_entries_of(std::span<const Tile> tiles,
                                                       const std::function<void()>& between) {
    Layout places;
    std::vector<std::size_t> at;
    for (const Tile& tile : tiles) at.push_back(places.add(tile.entries.size_bytes()));
    packed_.reset();
    std::byte* const to = next_buffer(places.bytes());
    std::vector<const Real*> entries;
    for (std::size_t t = 0; t < tiles.size(); ++t) {
        send_entries(std::as_bytes(tiles[t].entries), to + at[t], between);
        entries.push_back(reinterpret_cast<const Real*>(to + at[t]));
    }
    return entries;
}

void DeviceSlices::send_entries(std::span<const std::byte> from, std::byte* to,
                                const std::function<void()>& between) {
    constexpr auto at_once = static_cast<std::size_t>(staged_sum_bytes);
    while (!from.empty()) {
        between();
        const auto part = from.first(std::min(from.size(), at_once));
        runtime_->wait(Stream::copies);
        std::byte* const staged = staged_->reserve(part.size());
        copy_on_all_threads(staged, part.data(), part.size());
        runtime_->copy(to, staged, part.size(), Stream::copies);
        from = from.subspan(part.size());
        to += part.size();
    }
}

void DeviceSlices::release() noexcept {
    forget();
    for (Buffer* const buffer :
         {&slices_[0], &slices_[1], &lists_[0], &lists_[1], &staged_lists_, &staged_slice_})
        buffer->release();
}

template std::size_t DeviceSlices::bytes_of(const SliceToPack<float>&);
template void DeviceSlices::form(const SliceToPack<float>&, DeviceFactors&);
template SliceOnDevice DeviceSlices::send(const SliceProducts<float>&, const std::function<void()>&);
template std::vector<TokensOnDevice<float>> DeviceSlices::send(const FactorProducts<float>&,
                                                               const std::function<void()>&);
template std::vector<MatchesOnDevice<float>> DeviceSlices::send(const MatchProducts<float>&,
                                                                const std::function<void()>&);
template std::size_t DeviceSlices::bytes_of(const SliceToPack<double>&);
template void DeviceSlices::form(const SliceToPack<double>&, DeviceFactors&);
template SliceOnDevice DeviceSlices::send(const SliceProducts<double>&, const std::function<void()>&);
template std::vector<TokensOnDevice<double>> DeviceSlices::send(const FactorProducts<double>&,
                                                                const std::function<void()>&);
template std::vector<MatchesOnDevice<double>> DeviceSlices::send(const MatchProducts<double>&,
                                                                 const std::function<void()>&);

}  // namespace tangram::device
