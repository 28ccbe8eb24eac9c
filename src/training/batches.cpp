#include "tangram/training/batches.hpp"

#include <fmt/core.h>

#include <numeric>

#include "tangram/drawing.hpp"
#include "tangram/random.hpp"

namespace tangram {

Batches::Batches(Index examples, Index batch, std::uint64_t seed)
    : examples_(examples), size_(batch == 0 ? examples : batch), seed_(seed) {
    if (batch > examples)
        throw Error(
            ExitStatus::study, ErrorKind::too_few,
            fmt::format("finetune.batch = {}, but there are {} training examples; ask for fewer, or 0 "
                        "for all",
                        batch, examples));
    batch_.resize(static_cast<std::size_t>(size_));
    std::iota(batch_.begin(), batch_.end(), Index{0});
}

const std::vector<Index>& Batches::of_step(Index step) {
    if (size_ == examples_) return batch_;
    const Index per_epoch = examples_ / size_, epoch = step / per_epoch;
    if (epoch != epoch_) {
        order_ =
            draw_rows(examples_, 0, random::mixed(random::mixed(seed_) + static_cast<std::uint64_t>(epoch)),
                      "an epoch");
        epoch_ = epoch;
    }
    const auto first = order_.begin() + step % per_epoch * size_;
    batch_.assign(first, first + size_);
    return batch_;
}

}  // namespace tangram
