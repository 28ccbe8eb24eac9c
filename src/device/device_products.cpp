#include "device_products.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "device_factors.hpp"
#include "factor_kernel.hpp"
#include "match_kernel.hpp"
#include "tangram/error.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram::device {

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;
constexpr auto staged_at_once = static_cast<std::size_t>(staged_sum_bytes);

/// Where parts of a buffer begin, each on 256 bytes.
class Places {
  public:
    std::size_t next(std::size_t bytes) { return std::exchange(end_, end_ + rounded(bytes)); }
    std::size_t bytes() const { return end_; }
    static std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }

  private:
    std::size_t end_ = 0;
};

/// Sums that stand on the device: rows x columns, and where they belong.
struct HeldSums {
    double* home;
    Index lld, rows, columns;
    std::byte* at;
    std::size_t column_bytes() const { return sizeof(double) * static_cast<std::size_t>(rows); }
    std::size_t bytes() const { return static_cast<std::size_t>(columns) * column_bytes(); }
};

/// visit(sums, c, where column c stands among those that are staged) on all threads.
template <class Visit>
void for_columns(const std::vector<std::pair<HeldSums, std::byte*>>& staged, Visit visit) {
    parallel_for(std::ssize(staged), [&](Index i) {
        const auto& [sums, at] = staged[static_cast<std::size_t>(i)];
        for (Index c = 0; c < sums.columns; ++c)
            visit(sums, c, at + static_cast<std::size_t>(c) * sums.column_bytes());
    });
}

/// The memory that sums stand in, in parts that are given back together.
class SumsMemory {
  public:
    explicit SumsMemory(Runtime& runtime) : runtime_(&runtime) {}
    /// @param to_come  bytes that are asked for soon, these among them
    /// @param room     nullptr where so many bytes more than it has are not enough
    std::byte* next(std::size_t bytes, std::size_t to_come, std::size_t room) {
        const std::size_t wanted = Places::rounded(bytes);
        if (parts_.empty() || used_ + wanted > parts_.back().bytes()) {
            if (wanted > room) return nullptr;
            parts_.emplace_back(*runtime_, Memory::device).reserve(std::clamp(to_come, wanted, room));
            used_ = 0;
        }
        return parts_.back().data() + std::exchange(used_, used_ + wanted);
    }
    std::size_t bytes() const {
        std::size_t sum = 0;
        for (const Buffer& part : parts_) sum += part.bytes();
        return sum;
    }
    void clear() noexcept { parts_.clear(); }

  private:
    Runtime* runtime_;
    std::vector<Buffer> parts_;
    std::size_t used_ = 0;  // of the last one
};

/// Bytes of a tile, or of a buffer.
struct Bytes {
    std::size_t first, last;
};

/// A tile in a slice's buffer, and those of its bytes that come from the host.
struct TilePlace {
    std::size_t at;
    std::vector<Bytes> of_host;
};

/// A slice in the device's memory.
struct SliceOnDevice {
    const std::byte* lists = nullptr;
    std::byte* at = nullptr;
    std::size_t bytes = 0;                        ///< from `at` on
    std::vector<std::size_t> pieces, ends;        ///< where lists begin; ends of parameters
    std::map<const void*, TilePlace> tiles = {};  ///< by where they stand on the host
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
struct Lists {
    std::vector<std::byte> bytes;
    std::vector<std::size_t> at;
    template <class List>
    void add(const List& list) {
        const auto of = std::as_bytes(std::span(list));
        at.push_back(Places::rounded(bytes.size()));
        bytes.resize(at.back() + of.size());
        std::ranges::copy(of, bytes.begin() + static_cast<std::ptrdiff_t>(at.back()));
    }
};

/// What of a tile is formed on the device, and what is not, each as few runs.
template <class Real>
std::pair<std::vector<Bytes>, std::vector<Bytes>> formed_and_not(const SliceToPack<Real>& slice,
                                                                 const TileToPack<Real>& tile) {
    std::pair<std::vector<Bytes>, std::vector<Bytes>> of;
    auto& [formed, not_formed] = of;
    if (tile.factors.empty()) return {{}, {{0, tile.entries.size_bytes()}}};
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

class DeviceProducts final : public ProductBackEnd, private FactorMemory {
  public:
    DeviceProducts(std::unique_ptr<Runtime> runtime, double memory)
        : runtime_(std::move(runtime)), memory_(memory), factors_(*runtime_), held_memory_(*runtime_) {}
    ~DeviceProducts() override = default;

    std::string name() const override { return runtime_->name(); }
    double memory() const override { return memory_; }
    bool failed() const override { return failed_; }
    bool sums_are_torn() const override { return torn_; }
    void add(const SliceProducts<float>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    void add(const SliceProducts<double>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    void add(const FactorProducts<float>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    void add(const FactorProducts<double>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    void add(const MatchProducts<float>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    void add(const MatchProducts<double>& slice, const std::function<void()>& between) override {
        guarded([&] { add_slice(slice, between); });
    }
    bool begin_packing(const SliceToPack<float>& slice) override { return begins(slice); }
    bool begin_packing(const SliceToPack<double>& slice) override { return begins(slice); }
    void end_packing() override {
        guarded([&] { take_home(); });
    }
    FactorMemory* factor_memory(double beside) override {
        beside_factors_ = beside;
        return this;
    }
    void forget_factors() noexcept override {
        packed_.reset();
        factors_.forget();
    }
    void finish() override {
        guarded([&] { hand_over(); });
    }
    void store_sums() override {
        guarded([&] {
            hand_over();
            store();
            torn_ = false;
        });
    }
    void drop_sums() noexcept override {
        forget();
        torn_ = false;
    }

    void give_back_memory() noexcept override {
        forget();
        for (Buffer* const buffer :
             {&slices_[0], &slices_[1], &lists_[0], &lists_[1], &blocks_, &diagonals_, &staged_lists_,
              &staged_slice_, &staged_, &staged_blocks_, &staged_diagonals_})
            buffer->release();
    }

  private:
    /// Diagonals that a product asked for, and where they stand in staged_diagonals_.
    struct Asked {
        std::size_t product, place;
    };
    struct AskedDiagonals {
        std::vector<Asked> of;
        std::size_t bytes = 0;
    };

    std::string device() const override { return runtime_->name(); }
    RowsThere<float> room_for(float* home, Index rows, Index width) override {
        return room_of_factors(home, rows, width);
    }
    RowsThere<double> room_for(double* home, Index rows, Index width) override {
        return room_of_factors(home, rows, width);
    }
    void forget(const void* home) noexcept override { factors_.forget(home); }
    void bring_home(const void* home) override {
        guarded([&] { factors_.bring_home(home, staged_); });
    }
    template <class Real>
    RowsThere<Real> room_of_factors(Real* home, Index rows, Index width) {
        const std::size_t slices = 2 * std::max(slices_[0].bytes(), slices_[1].bytes()),
                          factors = factors_.bytes() + DeviceFactors::bytes_of<Real>(rows, width);
        const double beside = std::max(beside_factors_, static_cast<double>(slices));
        // A share for lists of a slice's rows and blocks, which come to the factors.
        if ((1 - back_end_overhead) * memory_ < beside + static_cast<double>(factors)) return {};
        try {
            return factors_.room_for(home, rows, width);
        } catch (const Error& e) {
            failed_ = e.kind() != ErrorKind::no_memory;
            throw;
        }
    }
    void forget() noexcept {
        held_.clear();
        held_memory_.clear();
        asked_.clear();
        put_diagonals_ = nullptr;
        going_home_.clear();
        forget_factors();
    }
    template <class Work>
    void guarded(Work work) {
        try {
            work();
        } catch (const Error&) {
            failed_ = true;
            forget();
            throw;
        }
    }

    template <class Slice>
    void add_slice(const Slice& slice, const std::function<void()>& between) {
        if (slice.products.empty()) return hand_over();
        const auto on_device = send(slice, between);
        between();
        for (std::size_t first = 0; first < slice.products.size();) {
            const std::size_t last = hold(slice, first);
            begin(slice, on_device, first, last);
            first = last;
            between();
        }
    }

    template <class Real>
    bool begins(const SliceToPack<Real>& slice) {
        bool taken = false;
        guarded([&] { taken = begin_slice(slice); });
        return taken;
    }

    /// Places for all tiles in the buffer that the last slice is not in (what was multiplied from it has
    /// ended), factors where they find room, and the kernels; those tiles that go home behind them.
    template <class Real>
    bool begin_slice(const SliceToPack<Real>& slice) {
        Places places;
        SliceOnDevice to;
        for (const TileToPack<Real>& tile : slice.tiles)
            to.tiles[tile.entries.data()] = {places.next(tile.entries.size_bytes()),
                                             formed_and_not(slice, tile).second};
        packed_.reset();
        if (!hold_factors(slice, places.bytes())) return false;
        to.at = next_buffer(places.bytes());
        to.bytes = places.bytes();
        std::vector<Real*> tiles;
        for (const TileToPack<Real>& tile : slice.tiles)
            tiles.push_back(reinterpret_cast<Real*>(to.at + to.tiles.at(tile.entries.data()).at));
        factors_.multiply_out(slice, tiles);
        staged_slice_.reserve(places.bytes());
        for (const TileToPack<Real>& tile : slice.tiles)
            for (const auto& [first, last] : formed_and_not(slice, tile).first) {
                if (!tile.goes_home) continue;
                const std::size_t at = to.tiles.at(tile.entries.data()).at + first;
                runtime_->copy(staged_slice_.data() + at, to.at + at, last - first, Stream::copies);
                going_home_.push_back(
                    {reinterpret_cast<std::byte*>(tile.entries.data()) + first, at, last - first});
            }
        packed_ = std::move(to);
        return true;
    }

    /// Factors take what slices and sums leave; others than this slice's go first.
    template <class Real>
    bool hold_factors(const SliceToPack<Real>& slice, std::size_t slice_bytes) {
        const auto fit = [&] {
            return static_cast<double>(factors_.missing(slice)) < free_beside(slice_bytes);
        };
        if (!fit()) factors_.make_way(staged_);
        if (!fit()) return false;
        try {
            factors_.hold(slice, staged_);
        } catch (const Error& e) {  // others have taken the memory meanwhile
            if (e.kind() != ErrorKind::no_memory) throw;
            factors_.make_way(staged_);
            return false;
        }
        return true;
    }

    void take_home() {
        runtime_->wait(Stream::copies);
        parallel_for(std::ssize(going_home_), [&](Index i) {
            const auto& [home, at, bytes] = going_home_[static_cast<std::size_t>(i)];
            std::memcpy(home, staged_slice_.data() + at, bytes);
        });
        going_home_.clear();
    }

    /// The buffer that the last slice is not in: what was multiplied from it has ended, as the last one began
    /// behind it.
    std::byte* next_buffer(std::size_t bytes) {
        turn_ = 1 - turn_;
        runtime_->wait(Stream::copies);
        make_room_for(bytes);
        return slices_[turn_].reserve(bytes);
    }

    /// A slice that begin_packing() has formed, or places for one that is packed on the host.
    template <class Real>
    SliceOnDevice place(const SliceProducts<Real>& slice) {
        SliceOnDevice to = std::exchange(packed_, std::nullopt).value_or(SliceOnDevice{});
        const auto is_formed = [&](const PackedRows<Real>& tile) {
            return to.tiles.contains(tile.entries.data());
        };
        if (std::ranges::all_of(slice.tiles, is_formed)) return to;
        to = {};
        Places places;
        for (const PackedRows<Real>& tile : slice.tiles)
            to.tiles[tile.entries.data()] = {places.next(tile.entries.size_bytes()),
                                             {{0, tile.entries.size_bytes()}}};
        to.at = next_buffer(places.bytes());
        to.bytes = places.bytes();
        return to;
    }

    /// Begins the copy of pieces, and of what of the tiles stands on the host.
    template <class Real>
    SliceOnDevice send(const SliceProducts<Real>& slice, const std::function<void()>&) {
        SliceOnDevice to = place(slice);
        Lists lists;
        for (const std::vector<ProductPiece>& list : slice.pieces) {
            lists.add(list);
            to.ends.push_back(
                static_cast<std::size_t>(std::ranges::count_if(list, &ProductPiece::ends_parameter)));
        }
        to.pieces = lists.at;
        to.lists = send_lists(lists);
        send_tiles(slice, to);
        return to;
    }

    /// Neighbours together: what lies between tiles is nobody's.
    template <class Real>
    void send_tiles(const SliceProducts<Real>& slice, const SliceOnDevice& to) {
        std::vector<Bytes> runs;
        std::byte* const staged = staged_slice_.reserve(to.bytes);
        parallel_for(std::ssize(slice.tiles), [&](Index t) {
            const std::span<const Real> entries = slice.tiles[static_cast<std::size_t>(t)].entries;
            const TilePlace& tile = to.tiles.at(entries.data());
            for (const auto& [first, last] : tile.of_host)
                std::memcpy(staged + tile.at + first,
                            reinterpret_cast<const std::byte*>(entries.data()) + first, last - first);
        });
        for (const PackedRows<Real>& tile : slice.tiles) {
            const TilePlace& place = to.tiles.at(tile.entries.data());
            for (const auto& [first, last] : place.of_host)
                runs.push_back({place.at + first, place.at + last});
        }
        std::ranges::sort(runs, {}, &Bytes::first);
        for (std::size_t r = 0; r < runs.size();) {
            Bytes run = runs[r++];
            while (r < runs.size() && runs[r].first <= Places::rounded(run.last)) run.last = runs[r++].last;
            runtime_->copy(to.at + run.first, staged + run.first, run.last - run.first, Stream::copies);
        }
    }

    template <class Real>
    std::vector<TokensOnDevice<Real>> send(const FactorProducts<Real>& slice,
                                           const std::function<void()>& between) {
        Lists lists;
        std::vector<TokensOnDevice<Real>> tiles;
        for (const PackedTokens<Real>& tile : slice.tiles) {
            const std::vector<ChunkOnDevice> chunks = chunks_of(tile, slice.panel_rows);
            lists.add(rows_of(tile));
            lists.add(chunks);
            tiles.push_back({nullptr, nullptr, nullptr, chunks});
        }
        const std::vector<const Real*> entries = send_entries_of<Real>(slice.tiles, between);
        const std::byte* const at = send_lists(lists);
        for (std::size_t t = 0; t < tiles.size(); ++t) {
            tiles[t].entries = entries[t];
            tiles[t].rows = reinterpret_cast<const RowTokens*>(at + lists.at[2 * t]);
            tiles[t].chunks_there = reinterpret_cast<const ChunkOnDevice*>(at + lists.at[2 * t + 1]);
        }
        return tiles;
    }
    template <class Real>
    std::vector<MatchesOnDevice<Real>> send(const MatchProducts<Real>& slice,
                                            const std::function<void()>& between) {
        Lists lists;
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

    const std::byte* send_lists(const Lists& lists) {
        runtime_->wait(Stream::copies);
        std::byte* const to = lists_[turn_].reserve(lists.bytes.size());
        std::ranges::copy(lists.bytes, staged_lists_.reserve(lists.bytes.size()));
        runtime_->copy(to, staged_lists_.data(), lists.bytes.size(), Stream::copies);
        return to;
    }
    /// Packed tiles to the buffer that the last slice is not in, in parts of what is on its way at once.
    template <class Real, class Tile>
    std::vector<const Real*> send_entries_of(std::span<const Tile> tiles,
                                             const std::function<void()>& between) {
        Places places;
        std::vector<std::size_t> at;
        for (const Tile& tile : tiles) at.push_back(places.next(tile.entries.size_bytes()));
        packed_.reset();
        std::byte* const to = next_buffer(places.bytes());
        std::vector<const Real*> entries;
        for (std::size_t t = 0; t < tiles.size(); ++t) {
            send_entries(std::as_bytes(tiles[t].entries), to + at[t], between);
            entries.push_back(reinterpret_cast<const Real*>(to + at[t]));
        }
        return entries;
    }
    template <class Real>
    static std::vector<RowTokens> rows_of(const PackedTokens<Real>& tile) {
        std::vector<RowTokens> rows;
        for (const TokenChunk& chunk : tile.chunks)
            for (Index first = 0, row = chunk.first_row; row < chunk.last_row; ++row) {
                rows.push_back({first, tile.row_tokens[static_cast<std::size_t>(row)]});
                first += rows.back().count;
            }
        return rows;
    }
    template <class Real>
    static std::vector<ChunkOnDevice> chunks_of(const PackedTokens<Real>& tile, Index panel_rows) {
        std::vector<ChunkOnDevice> chunks;
        Index before = 0;
        for (const TokenChunk& chunk : tile.chunks) {
            if (chunk.tokens > chunk_tokens) throw std::logic_error("a chunk has more tokens than a block");
            const Index padded = (chunk.tokens + panel_rows - 1) / panel_rows * panel_rows;
            chunks.push_back({chunk.first_row, chunk.last_row, before, padded});
            before += padded;
        }
        return chunks;
    }
    void send_entries(std::span<const std::byte> from, std::byte* to, const std::function<void()>& between) {
        while (!from.empty()) {
            between();
            const auto part = from.first(std::min(from.size(), staged_at_once));
            runtime_->wait(Stream::copies);
            std::byte* const staged = staged_.reserve(part.size());
            constexpr std::size_t together = std::size_t{1} << 18;
            parallel_for(static_cast<Index>((part.size() + together - 1) / together), [&](Index i) {
                const std::size_t first = static_cast<std::size_t>(i) * together;
                std::memcpy(staged + first, part.data() + first, std::min(together, part.size() - first));
            });
            runtime_->copy(to, staged, part.size(), Stream::copies);
            from = from.subspan(part.size());
            to += part.size();
        }
    }

    template <class Slice>
    static HeldSums sums_of(const Slice& slice, const TileProduct& product) {
        return {product.sums, product.lld, slice.tiles[product.left].rows, slice.tiles[product.right].rows,
                nullptr};
    }
    template <class Slice>
    std::size_t bytes_to_come(const Slice& slice, std::size_t first) const {
        std::size_t sum = 0;
        for (const TileProduct& product : slice.products.subspan(first))
            if (!held_.contains(product.sums)) sum += Places::rounded(sums_of(slice, product).bytes());
        return sum;
    }

    /// Loads the sums of products from `first` on, as many as find room. @return the first that did not
    template <class Slice>
    std::size_t hold(const Slice& slice, std::size_t first) {
        std::size_t staged = 0, p = first, to_come = bytes_to_come(slice, first);
        std::vector<std::pair<HeldSums, std::byte*>> on_their_way;
        const auto leave = [&] {
            for_columns(on_their_way, [](const HeldSums& sums, Index c, std::byte* from) {
                std::memcpy(from, sums.home + c * sums.lld, sums.column_bytes());
            });
            for (const auto& [sums, from] : on_their_way)
                runtime_->copy(sums.at, from, sums.bytes(), Stream::copies);
            on_their_way.clear();
        };
        if (to_come > room()) factors_.make_way(staged_);
        for (; p < slice.products.size(); ++p) {
            const TileProduct& product = slice.products[p];
            if (held_.contains(product.sums)) continue;
            HeldSums sums = sums_of(slice, product);
            sums.at = held_memory_.next(sums.bytes(), to_come, room());
            if (sums.at == nullptr && p > first) break;  // those that are here are multiplied first
            if (sums.at == nullptr) sums.at = instead_of_others(sums.bytes(), to_come);
            if (staged == 0 || staged + sums.bytes() > staged_.bytes()) {
                leave();
                runtime_->wait(Stream::copies);
                staged_.reserve(std::max(sums.bytes(), std::min(staged_at_once, to_come)));
                staged = 0;
            }
            to_come -= Places::rounded(sums.bytes());
            on_their_way.emplace_back(sums, staged_.data() + staged);
            staged += sums.bytes();
            held_.emplace(product.sums, sums);
        }
        leave();
        return p;
    }

    /// Factors, and then sums, that a deeper slice than those before leaves no room go before its buffer
    /// grows.
    void make_room_for(std::size_t slice_bytes) {
        if (slice_bytes <= slices_[turn_].bytes()) return;
        if (free_beside(slice_bytes) < 0) factors_.make_way(staged_);
        if (free_beside(slice_bytes) < 0) send_home();
        if (free_beside(slice_bytes) <= 0) throw_too_little();
    }

    /// Room for some sums after all others have gone home.
    std::byte* instead_of_others(std::size_t bytes, std::size_t to_come) {
        send_home();
        std::byte* const at = held_memory_.next(bytes, to_come, room());
        if (at == nullptr) throw_too_little();
        return at;
    }
    void send_home() {
        hand_over();
        torn_ = torn_ || !held_.empty();
        store();
    }
    [[noreturn]] void throw_too_little() const {
        throw Error(ExitStatus::numerical, ErrorKind::no_memory,
                    fmt::format("{}: {} MiB of its memory are too few for two slices and a tile "
                                "(--device-memory); use more GPUs, fewer ranks on each, or --device cpu",
                                name(), static_cast<std::size_t>(memory_) / mebibyte));
    }

    /// Bytes that sums may take beside what they have.
    std::size_t room() const {
        const double free = free_beside(0);
        return free > 0 ? static_cast<std::size_t>(free) : 0;
    }
    /// Bytes beside sums, factors and two slices like the largest one, or of so many bytes.
    double free_beside(std::size_t slice_bytes) const {
        const std::size_t largest = std::max({slices_[0].bytes(), slices_[1].bytes(), slice_bytes});
        return (1 - back_end_overhead) * memory_ -
               static_cast<double>(2 * largest + held_memory_.bytes() + factors_.bytes());
    }

    /// Multiplies behind what was begun before, and asks for diagonals.
    template <class Real>
    void begin(const SliceProducts<Real>& slice, const SliceOnDevice& from, std::size_t first,
               std::size_t last) {
        const AskedDiagonals asked = ask(slice, first, last, [&](const TileProduct& product) {
            return from.ends[product.pieces] * static_cast<std::size_t>(slice.tiles[product.left].rows);
        });
        const auto tile_at = [&](std::size_t tile) {
            return reinterpret_cast<const Real*>(from.at +
                                                 from.tiles.at(slice.tiles[tile].entries.data()).at);
        };
        std::vector<BlockWork<Real>> works;
        const auto append = [&](Index turn, Index turns) {
            auto next = asked.of.begin();
            for (std::size_t p = first; p < last; ++p) {
                const TileProduct& product = slice.products[p];
                const std::vector<ProductPiece>& pieces = slice.pieces[product.pieces];
                const auto cut = [&](Index at) { return std::ssize(pieces) * at / turns; };
                BlockWork<Real> work = work_of(slice, product);
                work.left = tile_at(product.left);
                work.right = tile_at(product.right);
                work.pieces =
                    reinterpret_cast<const ProductPiece*>(from.lists + from.pieces[product.pieces]) +
                    cut(turn);
                work.piece_count = cut(turn + 1) - cut(turn);
                work.sums = reinterpret_cast<double*>(held_.at(product.sums).at);
                if (product.diagonals)
                    work.diagonals = reinterpret_cast<double*>(diagonals_.data() + next++->place) +
                                     work.rows * std::count_if(pieces.begin(), pieces.begin() + cut(turn),
                                                               std::mem_fn(&ProductPiece::ends_parameter));
                work.turn = static_cast<int>(turn);
                append_blocks(work, product.lower_only, works);
            }
        };
        append(0, 1);
        const Index blocks = std::ssize(works);
        std::size_t longest = 0;
        for (std::size_t p = first; p < last; ++p)
            longest = std::max(longest, slice.pieces[slice.products[p].pieces].size());
        const Index turns = turns_of(blocks, runtime_->at_once(), static_cast<Index>(longest));
        if (turns > 1) works.clear();
        for (Index turn = 0; turns > 1 && turn < turns; ++turn) append(turn, turns);
        launch(works, turns > 1 ? blocks : 0);
        await(asked, slice.put_diagonals);
    }

    template <class Real>
    void begin(const FactorProducts<Real>& slice, const std::vector<TokensOnDevice<Real>>& tiles,
               std::size_t first, std::size_t last) {
        std::vector<FactorWork<Real>> works;
        const auto append = [&](const TileProduct& product, FactorWork<Real> work) {
            const TokensOnDevice<Real>&left = tiles[product.left], &right = tiles[product.right];
            work.left = left.entries;
            work.right = right.entries;
            work.left_entries = std::ssize(slice.tiles[product.left].entries);
            work.right_entries = std::ssize(slice.tiles[product.right].entries);
            work.panel_rows = slice.panel_rows;
            work.delta_width = slice.delta_width;
            work.input_width = slice.input_width;
            work.left_rows = left.rows;
            work.right_rows = right.rows;
            work.right_chunks = right.chunks_there;
            work.right_count = std::ssize(right.chunks);
            work.lower_only = product.lower_only;
            // Enough works to fill multiprocessors, few beside the sums.
            constexpr Index most_works = 16;
            const Index chunks = std::ssize(left.chunks), cuts = std::min(chunks, most_works);
            for (Index cut = 0; cut < cuts; ++cut) {
                work.left_chunks = left.chunks_there + chunks * cut / cuts;
                work.left_count = chunks * (cut + 1) / cuts - chunks * cut / cuts;
                works.push_back(work);
            }
        };
        const AskedDiagonals asked = for_products<FactorWork<Real>>(slice, first, last, append);
        runtime_->add_factors(send_works(works), std::ssize(works));
        await(asked, slice.put_diagonals);
    }

    template <class Real>
    void begin(const MatchProducts<Real>& slice, const std::vector<MatchesOnDevice<Real>>& tiles,
               std::size_t first, std::size_t last) {
        std::vector<MatchWork<Real>> works;
        const auto append = [&](const TileProduct& product, MatchWork<Real> work) {
            work.left = tiles[product.left];
            work.right = tiles[product.right];
            work.right.entries +=
                std::ssize(slice.tiles[product.right].entries) / slice.copies * (slice.copies - 1);
            work.columns = slice.columns;
            works.push_back(work);
        };
        const AskedDiagonals asked = for_products<MatchWork<Real>>(slice, first, last, append);
        runtime_->add_matches(send_works(works), std::ssize(works));
        await(asked, slice.put_diagonals);
    }

    /// append(product, work) for products whose diagonals, if any, are one number of each row; the work has
    /// where they and the sums stand.
    template <class Work, class Slice, class Append>
    AskedDiagonals for_products(const Slice& slice, std::size_t first, std::size_t last, Append append) {
        const auto rows = [&](const TileProduct& product) { return slice.tiles[product.left].rows; };
        AskedDiagonals asked = ask(slice, first, last, [&](const TileProduct& product) {
            return static_cast<std::size_t>(rows(product));
        });
        auto next = asked.of.begin();
        for (std::size_t p = first; p < last; ++p) {
            const TileProduct& product = slice.products[p];
            Work work{};
            work.sums = reinterpret_cast<double*>(held_.at(product.sums).at);
            work.lld = rows(product);
            if (product.diagonals)
                work.diagonal = reinterpret_cast<double*>(diagonals_.data() + next++->place);
            append(product, work);
        }
        return asked;
    }

    /// Works to where kernels find them.
    template <class Work>
    const Work* send_works(const std::vector<Work>& works) {
        const std::size_t bytes = works.size() * sizeof(Work);
        const std::byte* const at = make_room_for_works(bytes);
        std::memcpy(staged_blocks_.data(), works.data(), bytes);
        send_works(bytes);
        return reinterpret_cast<const Work*>(at);
    }

    /// @param blocks  that take turns: work i is one of block i % blocks; 0: each has one
    template <class Real>
    void launch(std::vector<BlockWork<Real>>& works, Index blocks) {
        Places places;
        const std::size_t works_at = places.next(works.size() * sizeof(BlockWork<Real>)),
                          counts_at = places.next(static_cast<std::size_t>(1 + blocks) * sizeof(int));
        std::byte* const at = make_room_for_works(places.bytes());
        int* const counts = reinterpret_cast<int*>(at + counts_at);  // works begun; of each block those done
        for (Index i = 0; blocks > 0 && i < std::ssize(works); ++i)
            works[static_cast<std::size_t>(i)].done = counts + 1 + i % blocks;
        std::memcpy(staged_blocks_.data() + works_at, works.data(), works.size() * sizeof(BlockWork<Real>));
        std::memset(staged_blocks_.data() + counts_at, 0, places.bytes() - counts_at);
        send_works(places.bytes());
        runtime_->add_products(reinterpret_cast<const BlockWork<Real>*>(at + works_at), std::ssize(works),
                               counts);
    }

    /// In blocks_, and in staged_blocks_: what was begun is done, nobody reads them any more, nor the slice
    /// before.
    std::byte* make_room_for_works(std::size_t bytes) {
        runtime_->wait(Stream::copies);
        staged_blocks_.reserve(bytes);
        hand_over();
        return blocks_.reserve(bytes);
    }
    void send_works(std::size_t bytes) {
        runtime_->copy(blocks_.data(), staged_blocks_.data(), bytes, Stream::copies);
        runtime_->let_follow(Stream::products, Stream::copies);
    }

    /// Room in diagonals_ for what products ask for, so many numbers each.
    template <class Slice, class NumbersOf>
    AskedDiagonals ask(const Slice& slice, std::size_t first, std::size_t last, NumbersOf numbers_of) {
        AskedDiagonals asked;
        Places places;
        for (std::size_t p = first; p < last; ++p)
            if (const TileProduct& product = slice.products[p]; product.diagonals)
                asked.of.push_back({p, places.next(sizeof(double) * numbers_of(product))});
        asked.bytes = places.bytes();
        if (asked.bytes > diagonals_.bytes()) hand_over();
        diagonals_.reserve(asked.bytes);
        return asked;
    }
    /// hand_over() gives them.
    void await(const AskedDiagonals& asked,
               const std::function<void(std::size_t, const double*)>& put_diagonals) {
        if (asked.bytes > 0)
            runtime_->copy(staged_diagonals_.reserve(asked.bytes), diagonals_.data(), asked.bytes,
                           Stream::products);
        asked_ = asked.of;
        put_diagonals_ = put_diagonals;
    }

    /// Waits for what was begun, and hands over its diagonals.
    void hand_over() {
        runtime_->wait(Stream::products);
        for (const Asked& of : std::exchange(asked_, {}))
            put_diagonals_(of.product, reinterpret_cast<const double*>(staged_diagonals_.data() + of.place));
    }

    /// The sums that are held to where they belong. Nothing is under way.
    void store() {
        runtime_->wait(Stream::copies);
        std::vector<std::pair<HeldSums, std::byte*>> on_their_way;
        std::size_t staged = 0;
        const auto arrive = [&] {
            runtime_->wait(Stream::copies);
            for_columns(on_their_way, [](const HeldSums& sums, Index c, const std::byte* from) {
                std::memcpy(sums.home + c * sums.lld, from, sums.column_bytes());
            });
            on_their_way.clear();
            staged = 0;
        };
        for (const auto& [home, sums] : held_) {
            if (staged + sums.bytes() > staged_.bytes()) arrive();
            std::byte* const to = staged_.data() + staged;
            runtime_->copy(to, sums.at, sums.bytes(), Stream::copies);
            on_their_way.emplace_back(sums, to);
            staged += sums.bytes();
        }
        arrive();
        held_.clear();
        held_memory_.clear();
    }

    /// What end_packing() copies from staged_slice_.
    struct GoingHome {
        std::byte* home;
        std::size_t at, bytes;
    };

    std::unique_ptr<Runtime> runtime_;
    double memory_, beside_factors_ = 0;
    bool failed_ = false, torn_ = false;  // torn_: sums were stored in the middle of a slice or before one
    std::size_t turn_ = 0;
    std::array<Buffer, 2> slices_{Buffer(*runtime_, Memory::device), Buffer(*runtime_, Memory::device)};
    std::array<Buffer, 2> lists_{Buffer(*runtime_, Memory::device), Buffer(*runtime_, Memory::device)};
    Buffer blocks_{*runtime_, Memory::device}, diagonals_{*runtime_, Memory::device};
    DeviceFactors factors_;
    std::optional<SliceOnDevice> packed_;  // the next one to be added
    std::vector<GoingHome> going_home_;
    Buffer staged_lists_{*runtime_, Memory::pinned}, staged_slice_{*runtime_, Memory::pinned},
        staged_{*runtime_, Memory::pinned}, staged_blocks_{*runtime_, Memory::pinned},
        staged_diagonals_{*runtime_, Memory::pinned};
    SumsMemory held_memory_;
    std::unordered_map<double*, HeldSums> held_;
    std::vector<Asked> asked_;
    std::function<void(std::size_t, const double*)> put_diagonals_;
};

}  // namespace

std::unique_ptr<ProductBackEnd> device_products(std::unique_ptr<Runtime> runtime, double memory) {
    return std::make_unique<DeviceProducts>(std::move(runtime), memory);
}

}  // namespace tangram::device
