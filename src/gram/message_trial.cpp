#include "message_trial.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "tangram/arithmetic.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/products.hpp"
#include "transfers.hpp"

namespace tangram {

namespace {

constexpr Index rows = 4 * products::panel_rows;

/// Gradients of one token each, whole numbers so small that no sum of their products is rounded. Those of two
/// trials differ: what one has left in memory must not pass for what the next one was sent.
struct Numbers {
    Index delta_width, input_width, trial;

    Index delta(int rank, Index row, Index o) const { return 1 + (trial + rank + row + o) % 3; }
    Index input(int rank, Index row, Index i) const { return 1 + (trial + rank + 2 * row + i) % 5; }
    Index depth() const { return delta_width * input_width; }
    /// Of a row of one rank's tile with one of another's.
    double product(int left, Index row, int right, Index column) const {
        Index deltas = 0, inputs = 0;
        for (Index o = 0; o < delta_width; ++o) deltas += delta(left, row, o) * delta(right, column, o);
        for (Index i = 0; i < input_width; ++i) inputs += input(left, row, i) * input(right, column, i);
        return static_cast<double>(deltas * inputs);
    }
};

/// This rank's tile and the one that arrives.
class Trial {
  public:
    Trial(const Numbers& numbers, int rank, int from, ProductBackEnd& back_end)
        : numbers_(numbers),
          rank_(rank),
          from_(from),
          back_end_(&back_end),
          own_(static_cast<std::size_t>(rows * numbers.depth())),
          other_(own_.size()) {
        for (Index r = 0; r < rows; ++r) {
            for (Index o = 0; o < numbers.delta_width; ++o)
                deltas_.push_back(static_cast<float>(numbers.delta(rank, r, o)));
            for (Index i = 0; i < numbers.input_width; ++i)
                inputs_.push_back(static_cast<float>(numbers.input(rank, r, i)));
        }
    }

    /// @return whether the back end has room for it
    bool forms() {
        TileToPack<float> own{own_, rows, rows, {}, false};
        for (Index r = 0; r < rows; ++r)
            own.factors.push_back(
                {deltas_.data() + r * numbers_.delta_width, inputs_.data() + r * numbers_.input_width, 1});
        const SliceToPack<float> slice{
            products::panel_rows,
            1,
            0,
            {{0, 0, numbers_.depth(), numbers_.delta_width, numbers_.input_width}},
            {{deltas_.data(), rows, numbers_.delta_width}, {inputs_.data(), rows, numbers_.input_width}},
            {own, {other_, rows, rows, {}, false}}};
        if (!back_end_->begin_packing(slice)) return false;
        back_end_->end_packing();
        const std::vector<const void*> homes{own_.data(), other_.data()};
        const std::vector<std::byte*> places = back_end_->places_for_messages(homes);
        to_send = {places[0], own_.size() * sizeof(float)};
        to_receive = {places[1], to_send.size()};
        return true;
    }

    /// Whether the products are those of the tile that was sent.
    bool arrived() {
        std::vector<ProductPiece> pieces;
        for (Index first = 0; first < numbers_.depth(); first += arithmetic::product_depth)
            pieces.push_back(
                {first, first, std::min(arithmetic::product_depth, numbers_.depth() - first), false});
        const std::vector<std::vector<ProductPiece>> lists{pieces};
        std::vector<double> sums(rows * rows, 0.0);
        const std::vector<PackedRows<float>> tiles{{own_, rows, rows}, {other_, rows, rows}};
        const std::vector<TileProduct> products{{0, 1, 0, sums.data(), rows, false, false}};
        back_end_->add(SliceProducts<float>{products::panel_rows, lists, tiles, products}, [] {});
        back_end_->store_sums();
        for (Index c = 0; c < rows; ++c)
            for (Index r = 0; r < rows; ++r)
                if (sums[static_cast<std::size_t>(r + c * rows)] != numbers_.product(rank_, r, from_, c))
                    return false;
        return true;
    }

    std::span<std::byte> to_send, to_receive;

  private:
    Numbers numbers_;
    int rank_, from_;
    ProductBackEnd* back_end_;
    std::vector<float> own_, other_, deltas_, inputs_;
};

}  // namespace

void try_messages(const Communicator& messages, ProductBackEnd& back_end) {
    const MPI_Comm comm = messages.get();
    const int rank = messages.rank(), ranks = messages.size(), from = (rank + ranks - 1) % ranks;
    constexpr double enough = 16.0 * 1024 * 1024;
    if (any_rank(comm, back_end.memory() < enough)) return;
    static Index trials = 0;
    trials = max_over_ranks(comm, trials + 1);
    for (const Numbers& numbers :
         {Numbers{1, 4, trials}, Numbers{16, 128, trials}}) {  // of some KiB and of about 1 MiB
        Trial trial = collectively(comm, [&] { return Trial(numbers, rank, from, back_end); });
        Transfers transfers(comm);
        const bool formed = collectively(comm, [&] {
            const bool forms = trial.forms();
            transfers.reserve(std::ssize(trial.to_send));
            transfers.reserve(std::ssize(trial.to_receive));
            return forms;
        });
        if (any_rank(comm, !formed)) break;
        transfers.receive(trial.to_receive, from, 0);
        transfers.send(trial.to_send, (rank + 1) % ranks, 0);
        transfers.wait();
        collectively(comm, [&] {
            const bool arrived = trial.arrived();
            back_end.forget_factors();
            if (!arrived)
                throw Error(ExitStatus::numerical, ErrorKind::failed_check,
                            fmt::format("{}: what messages carry there from rank {} arrives with other "
                                        "numbers; use --device cuda",
                                        back_end.name(), from));
        });
    }
    back_end.give_back_memory();
}

}  // namespace tangram
