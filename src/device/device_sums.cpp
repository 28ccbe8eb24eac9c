#include "device_sums.hpp"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "tangram/gram/product_back_end.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram::device {

namespace {

/// Every bit of them: not -0.
bool are_zero(const DeviceSums::Home& sums) {
    for (Index c = 0; c < sums.columns; ++c) {
        const double* const column = sums.first + c * sums.lld;
        if (!std::all_of(column, column + sums.rows,
                         [](double sum) { return std::bit_cast<std::uint64_t>(sum) == 0; }))
            return false;
    }
    return true;
}

}  // namespace

std::size_t DeviceSums::bytes() const {
    std::size_t sum = 0;
    for (const Buffer& part : parts_) sum += part.bytes();
    return sum;
}

std::size_t DeviceSums::missing(std::span<const Home> homes) const {
    std::size_t sum = 0;
    for (const Home& home : homes)
        if (!held_.contains(home.first)) sum += Layout::rounded(bytes_of(home));
    return sum;
}

/// @param to_come  bytes that are asked for soon, these among them
/// @param room     nullptr where so many bytes more than it has are not enough
std::byte* DeviceSums::next(std::size_t bytes, std::size_t to_come, std::size_t room) {
    const std::size_t wanted = Layout::rounded(bytes);
    if (parts_.empty() || used_ + wanted > parts_.back().bytes()) {
        if (wanted > room) return nullptr;
        parts_.emplace_back(*runtime_, Memory::device).reserve(std::clamp(to_come, wanted, room));
        used_ = 0;
    }
    return parts_.back().data() + std::exchange(used_, used_ + wanted);
}

template <class Visit>
void DeviceSums::for_columns(const OnItsWay& of, Visit visit) {
    for (Index c = 0; c < of.sums.home.columns; ++c)
        visit(of.sums.home.first + c * of.sums.home.lld,
              of.staged + static_cast<std::size_t>(c) * of.sums.column_bytes(), of.sums.column_bytes());
}

std::size_t DeviceSums::hold(std::span<const Home> homes, std::size_t room, Buffer& staged) {
    std::vector<OnItsWay> on_their_way;
    const auto leave = [&] {
        parallel_for(std::ssize(on_their_way), [&](Index i) {
            OnItsWay& of = on_their_way[static_cast<std::size_t>(i)];
            if (of.zero = are_zero(of.sums.home); of.zero) return;
            for_columns(of,
                        [](const double* from, std::byte* to, std::size_t n) { std::memcpy(to, from, n); });
        });
        for (const OnItsWay& of : on_their_way)
            if (of.zero)
                runtime_->clear(of.sums.at, of.sums.bytes(), Stream::copies);
            else
                runtime_->copy(of.sums.at, of.staged, of.sums.bytes(), Stream::copies);
        on_their_way.clear();
    };
    const std::size_t before = bytes();
    std::size_t filled = 0, to_come = missing(homes), h = 0;
    for (; h < homes.size(); ++h) {
        if (held_.contains(homes[h].first)) continue;
        const std::size_t wanted = bytes_of(homes[h]), taken = bytes() - before;
        const Held sums{homes[h], next(wanted, to_come, room > taken ? room - taken : 0)};
        if (sums.at == nullptr) break;
        if (filled == 0 || filled + wanted > staged.bytes()) {
            leave();
            runtime_->wait(Stream::copies);
            staged.reserve(std::max(wanted, std::min(static_cast<std::size_t>(staged_sum_bytes), to_come)));
            filled = 0;
        }
        to_come -= Layout::rounded(wanted);
        on_their_way.push_back({sums, staged.data() + filled, false});
        filled += wanted;
        held_.emplace(homes[h].first, sums);
    }
    leave();
    return h;
}

void DeviceSums::store(Buffer& staged) {
    runtime_->wait(Stream::copies);
    std::vector<OnItsWay> on_their_way;
    std::size_t filled = 0;
    const auto arrive = [&] {
        runtime_->wait(Stream::copies);
        parallel_for(std::ssize(on_their_way), [&](Index i) {
            for_columns(on_their_way[static_cast<std::size_t>(i)],
                        [](double* to, const std::byte* from, std::size_t n) { std::memcpy(to, from, n); });
        });
        on_their_way.clear();
        filled = 0;
    };
    for (const auto& [home, sums] : held_) {
        if (filled + sums.bytes() > staged.bytes()) arrive();
        std::byte* const to = staged.data() + filled;
        runtime_->copy(to, sums.at, sums.bytes(), Stream::copies);
        on_their_way.push_back({sums, to, false});
        filled += sums.bytes();
    }
    arrive();
    forget();
}

}  // namespace tangram::device
