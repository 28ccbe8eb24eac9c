#include "device_sums.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tangram/gram/product_back_end.hpp"
#include "tangram/parallel_for.hpp"

namespace tangram::device {

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
void DeviceSums::for_columns(const std::vector<std::pair<Held, std::byte*>>& staged, Visit visit) {
    parallel_for(std::ssize(staged), [&](Index i) {
        const auto& [sums, at] = staged[static_cast<std::size_t>(i)];
        for (Index c = 0; c < sums.home.columns; ++c)
            visit(sums, c, at + static_cast<std::size_t>(c) * sums.column_bytes());
    });
}

std::size_t DeviceSums::hold(std::span<const Home> homes, std::size_t room, Buffer& staged) {
    std::vector<std::pair<Held, std::byte*>> on_their_way;
    const auto leave = [&] {
        for_columns(on_their_way, [](const Held& sums, Index c, std::byte* to) {
            std::memcpy(to, sums.home.first + c * sums.home.lld, sums.column_bytes());
        });
        for (const auto& [sums, from] : on_their_way)
            runtime_->copy(sums.at, from, sums.bytes(), Stream::copies);
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
        on_their_way.emplace_back(sums, staged.data() + filled);
        filled += wanted;
        held_.emplace(homes[h].first, sums);
    }
    leave();
    return h;
}

void DeviceSums::store(Buffer& staged) {
    runtime_->wait(Stream::copies);
    std::vector<std::pair<Held, std::byte*>> on_their_way;
    std::size_t filled = 0;
    const auto arrive = [&] {
        runtime_->wait(Stream::copies);
        for_columns(on_their_way, [](const Held& sums, Index c, const std::byte* from) {
            std::memcpy(sums.home.first + c * sums.home.lld, from, sums.column_bytes());
        });
        on_their_way.clear();
        filled = 0;
    };
    for (const auto& [home, sums] : held_) {
        if (filled + sums.bytes() > staged.bytes()) arrive();
        std::byte* const to = staged.data() + filled;
        runtime_->copy(to, sums.at, sums.bytes(), Stream::copies);
        on_their_way.emplace_back(sums, to);
        filled += sums.bytes();
    }
    arrive();
    forget();
}

}  // namespace tangram::device
