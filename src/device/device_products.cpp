#include "device_products.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <unordered_map>
#include <utility>

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
    std::size_t bytes() const { return sizeof(double) * static_cast<std::size_t>(rows * columns); }
};

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

/// A slice in the device's memory.
struct SliceOnDevice {
    std::byte* at = nullptr;
    std::vector<std::size_t> pieces, ends,
        tiles;  ///< where lists of pieces and tiles begin; ends of parameters
};

class DeviceProducts final : public ProductBackEnd {
  public:
    DeviceProducts(std::unique_ptr<Runtime> runtime, double memory)
        : runtime_(std::move(runtime)), memory_(memory), held_memory_(*runtime_) {}
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

  private:
    void forget() noexcept {
        held_.clear();
        held_memory_.clear();
        asked_.clear();
        put_diagonals_ = nullptr;
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

    template <class Real>
    void add_slice(const SliceProducts<Real>& slice, const std::function<void()>& between) {
        if (slice.products.empty()) return;
        const SliceOnDevice on_device = send(slice);
        between();
        for (std::size_t first = 0; first < slice.products.size();) {
            const std::size_t last = hold(slice, first);
            begin(slice, on_device, first, last);
            first = last;
            between();
        }
    }

    /// Begins the copy of pieces and tiles into the buffer that the last slice is not in: what was multiplied
    /// from it has ended, as the last one began behind it.
    template <class Real>
    SliceOnDevice send(const SliceProducts<Real>& slice) {
        Places places;
        SliceOnDevice to;
        for (const std::vector<ProductPiece>& list : slice.pieces) {
            to.pieces.push_back(places.next(list.size() * sizeof(ProductPiece)));
            to.ends.push_back(
                static_cast<std::size_t>(std::ranges::count_if(list, &ProductPiece::ends_parameter)));
        }
        for (const PackedRows<Real>& tile : slice.tiles)
            to.tiles.push_back(places.next(tile.entries.size_bytes()));
        turn_ = 1 - turn_;
        runtime_->wait(Stream::copies);
        make_room_for(places.bytes());
        to.at = slices_[turn_].reserve(places.bytes());
        std::byte* const staged = staged_slice_.reserve(places.bytes());
        for (std::size_t l = 0; l < slice.pieces.size(); ++l)
            std::memcpy(staged + to.pieces[l], slice.pieces[l].data(),
                        slice.pieces[l].size() * sizeof(ProductPiece));
        parallel_for(std::ssize(slice.tiles), [&](Index t) {
            const std::span<const Real> entries = slice.tiles[static_cast<std::size_t>(t)].entries;
            std::memcpy(staged + to.tiles[static_cast<std::size_t>(t)], entries.data(), entries.size_bytes());
        });
        runtime_->copy(to.at, staged, places.bytes(), Stream::copies);
        return to;
    }

    template <class Real>
    static HeldSums sums_of(const SliceProducts<Real>& slice, const TileProduct& product) {
        return {product.sums, product.lld, slice.tiles[product.left].rows, slice.tiles[product.right].rows,
                nullptr};
    }
    template <class Real>
    std::size_t bytes_to_come(const SliceProducts<Real>& slice, std::size_t first) const {
        std::size_t sum = 0;
        for (const TileProduct& product : slice.products.subspan(first))
            if (!held_.contains(product.sums)) sum += Places::rounded(sums_of(slice, product).bytes());
        return sum;
    }

    /// Loads the sums of products from `first` on, as many as find room. @return the first that did not
    template <class Real>
    std::size_t hold(const SliceProducts<Real>& slice, std::size_t first) {
        std::size_t staged = 0, p = first, to_come = bytes_to_come(slice, first);
        for (; p < slice.products.size(); ++p) {
            const TileProduct& product = slice.products[p];
            if (held_.contains(product.sums)) continue;
            HeldSums sums = sums_of(slice, product);
            sums.at = held_memory_.next(sums.bytes(), to_come, room());
            if (sums.at == nullptr && p > first) break;  // those that are here are multiplied first
            if (sums.at == nullptr) sums.at = instead_of_others(sums.bytes(), to_come);
            if (staged == 0 || staged + sums.bytes() > staged_sums_.bytes()) {
                runtime_->wait(Stream::copies);
                staged_sums_.reserve(std::max(sums.bytes(), std::min(staged_at_once, to_come)));
                staged = 0;
            }
            to_come -= Places::rounded(sums.bytes());
            std::byte* const from = staged_sums_.data() + staged;
            for (Index c = 0; c < sums.columns; ++c)
                std::memcpy(from + sizeof(double) * static_cast<std::size_t>(c * sums.rows),
                            sums.home + c * sums.lld, sizeof(double) * static_cast<std::size_t>(sums.rows));
            runtime_->copy(sums.at, from, sums.bytes(), Stream::copies);
            staged += sums.bytes();
            held_.emplace(product.sums, sums);
        }
        return p;
    }

    /// Sums that a deeper slice than those before leaves no room go home before its buffer grows.
    void make_room_for(std::size_t slice_bytes) {
        if (slice_bytes <= slices_[turn_].bytes()) return;
        const double beside = (1 - back_end_overhead) * memory_ - 2 * static_cast<double>(slice_bytes);
        if (beside < static_cast<double>(held_memory_.bytes())) send_home();
        if (beside <= 0) throw_too_little();
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

    /// Bytes that sums may take beside what they have and two slices like the largest one.
    std::size_t room() const {
        const double free =
            (1 - back_end_overhead) * memory_ -
            static_cast<double>(2 * std::max(slices_[0].bytes(), slices_[1].bytes()) + held_memory_.bytes());
        return free > 0 ? static_cast<std::size_t>(free) : 0;
    }

    /// Multiplies behind what was begun before, and asks for diagonals.
    template <class Real>
    void begin(const SliceProducts<Real>& slice, const SliceOnDevice& from, std::size_t first,
               std::size_t last) {
        Places diagonals;
        std::vector<Asked> asked;
        for (std::size_t p = first; p < last; ++p)
            if (const TileProduct& product = slice.products[p]; product.diagonals)
                asked.push_back(
                    {p, diagonals.next(sizeof(double) * from.ends[product.pieces] *
                                       static_cast<std::size_t>(slice.tiles[product.left].rows))});
        if (diagonals.bytes() > diagonals_.bytes()) hand_over();
        std::byte* const diagonals_at = diagonals_.reserve(diagonals.bytes());
        std::vector<BlockWork<Real>> blocks;
        auto next = asked.begin();
        for (std::size_t p = first; p < last; ++p) {
            const TileProduct& product = slice.products[p];
            BlockWork<Real> work = work_of(slice, product);
            work.left = reinterpret_cast<const Real*>(from.at + from.tiles[product.left]);
            work.right = reinterpret_cast<const Real*>(from.at + from.tiles[product.right]);
            work.pieces = reinterpret_cast<const ProductPiece*>(from.at + from.pieces[product.pieces]);
            work.sums = reinterpret_cast<double*>(held_.at(product.sums).at);
            if (product.diagonals) work.diagonals = reinterpret_cast<double*>(diagonals_at + next++->place);
            append_blocks(work, product.lower_only, blocks);
        }
        launch(blocks, diagonals.bytes());
        asked_ = std::move(asked);
        put_diagonals_ = slice.put_diagonals;
    }

    template <class Real>
    void launch(const std::vector<BlockWork<Real>>& blocks, std::size_t diagonal_bytes) {
        const std::size_t bytes = blocks.size() * sizeof(BlockWork<Real>);
        runtime_->wait(Stream::copies);
        std::memcpy(staged_blocks_.reserve(bytes), blocks.data(), bytes);
        hand_over();  // nobody reads blocks_ any more, nor the slice before
        std::byte* const at = blocks_.reserve(bytes);
        runtime_->copy(at, staged_blocks_.data(), bytes, Stream::copies);
        runtime_->let_follow(Stream::products, Stream::copies);
        runtime_->add_products(reinterpret_cast<const BlockWork<Real>*>(at), std::ssize(blocks));
        if (diagonal_bytes > 0)
            runtime_->copy(staged_diagonals_.reserve(diagonal_bytes), diagonals_.data(), diagonal_bytes,
                           Stream::products);
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
        std::vector<std::pair<const HeldSums*, const std::byte*>> under_way;
        std::size_t staged = 0;
        const auto arrive = [&] {
            runtime_->wait(Stream::copies);
            parallel_for(std::ssize(under_way), [&](Index i) {
                const auto& [sums, from] = under_way[static_cast<std::size_t>(i)];
                for (Index c = 0; c < sums->columns; ++c)
                    std::memcpy(sums->home + c * sums->lld,
                                from + sizeof(double) * static_cast<std::size_t>(c * sums->rows),
                                sizeof(double) * static_cast<std::size_t>(sums->rows));
            });
            under_way.clear();
            staged = 0;
        };
        for (const auto& [home, sums] : held_) {
            if (staged + sums.bytes() > staged_sums_.bytes()) arrive();
            std::byte* const to = staged_sums_.data() + staged;
            runtime_->copy(to, sums.at, sums.bytes(), Stream::copies);
            under_way.emplace_back(&sums, to);
            staged += sums.bytes();
        }
        arrive();
        held_.clear();
        held_memory_.clear();
    }

    /// Diagonals that a product asked for, and where they stand in staged_diagonals_.
    struct Asked {
        std::size_t product, place;
    };

    std::unique_ptr<Runtime> runtime_;
    double memory_;
    bool failed_ = false, torn_ = false;  // torn_: sums were stored in the middle of a slice or before one
    std::size_t turn_ = 0;
    std::array<Buffer, 2> slices_{Buffer(*runtime_, Memory::device), Buffer(*runtime_, Memory::device)};
    Buffer blocks_{*runtime_, Memory::device}, diagonals_{*runtime_, Memory::device};
    Buffer staged_slice_{*runtime_, Memory::pinned}, staged_sums_{*runtime_, Memory::pinned},
        staged_blocks_{*runtime_, Memory::pinned}, staged_diagonals_{*runtime_, Memory::pinned};
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
