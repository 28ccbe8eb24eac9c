#include "device_products.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>
#include <vector>

#include "device_factors.hpp"
#include "device_slices.hpp"
#include "device_sums.hpp"
#include "factor_kernel.hpp"
#include "match_kernel.hpp"
#include "tangram/error.hpp"

namespace tangram::device {

namespace {

constexpr std::size_t mebibyte = std::size_t{1} << 20;

class DeviceProducts final : public ProductBackEnd, private FactorMemory {
  public:
    DeviceProducts(std::unique_ptr<Runtime> runtime, double memory, bool messages_reach_it)
        : runtime_(std::move(runtime)), memory_(memory), messages_reach_it_(messages_reach_it) {}
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
        guarded([&] { slices_.take_home(); });
    }
    bool messages_reach_it() const override { return messages_reach_it_; }
    std::vector<std::byte*> places_for_messages(std::span<const void* const> homes) override {
        std::vector<std::byte*> places;
        guarded([&] { places = slices_.places_for_messages(homes); });
        return places;
    }
    FactorMemory* factor_memory(double beside) override {
        beside_factors_ = beside;
        return this;
    }
    void forget_factors() noexcept override {
        slices_.forget();
        factors_.forget();
    }
    void finish() override {
        guarded([&] { hand_over(); });
    }
    void store_sums() override {
        guarded([&] {
            hand_over();
            sums_.store(staged_);
            torn_ = false;
        });
    }
    void drop_sums() noexcept override {
        forget();
        torn_ = false;
    }

    void give_back_memory() noexcept override {
        forget();
        slices_.release();
        for (Buffer* const buffer : {&blocks_, &diagonals_, &staged_, &staged_blocks_, &staged_diagonals_})
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
        const std::size_t factors = factors_.bytes() + DeviceFactors::bytes_of<Real>(rows, width);
        const double beside = std::max(beside_factors_, static_cast<double>(2 * slices_.largest()));
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
        sums_.forget();
        asked_.clear();
        put_diagonals_ = nullptr;
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
        if (slice.products.empty()) {
            slices_.forget();
            return hand_over();
        }
        const auto on_device = slices_.send(slice, between);
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

    template <class Real>
    bool begin_slice(const SliceToPack<Real>& slice) {
        slices_.forget();
        if (!hold_factors(slice, DeviceSlices::bytes_of(slice))) return false;
        slices_.form(slice, factors_);
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

    /// Loads the sums of products from `first` on, as many as find room: those are multiplied before others
    /// come. @return the first that did not
    template <class Slice>
    std::size_t hold(const Slice& slice, std::size_t first) {
        std::vector<DeviceSums::Home> homes;
        for (const TileProduct& product : slice.products.subspan(first))
            homes.push_back(
                {product.sums, product.lld, slice.tiles[product.left].rows, slice.tiles[product.right].rows});
        if (sums_.missing(homes) > room()) factors_.make_way(staged_);
        std::size_t held = sums_.hold(homes, room(), staged_);
        if (held == 0) {
            send_home();
            held = sums_.hold(homes, room(), staged_);
        }
        if (held == 0) throw_too_little();
        return first + held;
    }

    /// Factors, and then sums, that a deeper slice than those before leaves no room go before its buffer
    /// grows.
    void make_room_for(std::size_t slice_bytes) {
        if (free_beside(slice_bytes) < 0) factors_.make_way(staged_);
        if (free_beside(slice_bytes) < 0) send_home();
        if (free_beside(slice_bytes) <= 0) throw_too_little();
    }

    void send_home() {
        hand_over();
        torn_ = torn_ || !sums_.empty();
        sums_.store(staged_);
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
        const std::size_t largest = std::max(slices_.largest(), slice_bytes);
        return (1 - back_end_overhead) * memory_ -
               static_cast<double>(2 * largest + sums_.bytes() + factors_.bytes());
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
                work.sums = sums_.at(product.sums);
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
        // Enough works that multiprocessors end at about the same time, few beside the sums.
        constexpr Index most_cuts = 16;
        const Index wanted = 16 * runtime_->at_once() / static_cast<Index>(last - first);  // of a product
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
            work.lower_only = product.lower_only;
            const auto cuts_of = [](Index chunks, Index most) { return std::clamp(chunks, Index{1}, most); };
            const Index chunks = std::ssize(left.chunks), right_chunks = std::ssize(right.chunks),
                        cuts = cuts_of(chunks, most_cuts),
                        right_cuts = cuts_of((wanted + cuts - 1) / cuts, cuts_of(right_chunks, most_cuts));
            for (Index cut = 0; cut < cuts; ++cut)
                for (Index right_cut = 0; right_cut < right_cuts; ++right_cut) {
                    const Index begin = chunks * cut / cuts,
                                right_begin = right_chunks * right_cut / right_cuts;
                    work.left_chunks = left.chunks_there + begin;
                    work.left_count = chunks * (cut + 1) / cuts - begin;
                    work.right_chunks = right.chunks_there + right_begin;
                    work.right_count = right_chunks * (right_cut + 1) / right_cuts - right_begin;
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
            work.sums = sums_.at(product.sums);
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
        Layout places;
        const std::size_t works_at = places.add(works.size() * sizeof(BlockWork<Real>)),
                          counts_at = places.add(static_cast<std::size_t>(1 + blocks) * sizeof(int));
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
        Layout places;
        for (std::size_t p = first; p < last; ++p)
            if (const TileProduct& product = slice.products[p]; product.diagonals)
                asked.of.push_back({p, places.add(sizeof(double) * numbers_of(product))});
        asked.bytes = places.bytes();
        if (asked.bytes > diagonals_.bytes()) hand_over();
        diagonals_.reserve(asked.bytes);
        staged_diagonals_.reserve(asked.bytes);
        return asked;
    }
    /// hand_over() gives them.
    void await(const AskedDiagonals& asked,
               const std::function<void(std::size_t, const double*)>& put_diagonals) {
        if (asked.bytes > 0)
            runtime_->copy(staged_diagonals_.data(), diagonals_.data(), asked.bytes, Stream::products);
        asked_ = asked.of;
        put_diagonals_ = put_diagonals;
    }

    /// Waits for what was begun, and hands over its diagonals.
    void hand_over() {
        runtime_->wait(Stream::products);
        for (const Asked& of : std::exchange(asked_, {}))
            put_diagonals_(of.product, reinterpret_cast<const double*>(staged_diagonals_.data() + of.place));
    }

    std::unique_ptr<Runtime> runtime_;
    double memory_, beside_factors_ = 0;
    bool messages_reach_it_, failed_ = false,
                             torn_ = false;  // torn_: sums were stored in the middle of a slice or before one
    Buffer blocks_{*runtime_, Memory::device}, diagonals_{*runtime_, Memory::device};
    Buffer staged_{*runtime_, Memory::pinned}, staged_blocks_{*runtime_, Memory::pinned},
        staged_diagonals_{*runtime_, Memory::pinned};
    DeviceFactors factors_{*runtime_};
    DeviceSums sums_{*runtime_};
    DeviceSlices slices_{*runtime_, staged_, [this](std::size_t bytes) { make_room_for(bytes); }};
    std::vector<Asked> asked_;
    std::function<void(std::size_t, const double*)> put_diagonals_;
};

}  // namespace

std::unique_ptr<ProductBackEnd> device_products(std::unique_ptr<Runtime> runtime, double memory,
                                                bool messages_reach_it) {
    return std::make_unique<DeviceProducts>(std::move(runtime), memory, messages_reach_it);
}

}  // namespace tangram::device
