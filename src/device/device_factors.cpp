#include "device_factors.hpp"

#include <algorithm>
#include <cstring>

#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"
#include "token_kernel.hpp"

namespace tangram::device {

namespace {

Index parts(Index whole, Index part) { return (whole + part - 1) / part; }

template <class Real>
Index stride_of(Index width) {
    constexpr Index aligned = 16 / sizeof(Real);
    return parts(width, aligned) * aligned;
}

/// Bytes of the lists of rows and of blocks, of these at most.
struct ListBytes {
    std::size_t rows = 0, blocks = 0;

    template <class Real>
    explicit ListBytes(const SliceToPack<Real>& slice) {
        slice.in_factors ? add_tokens(slice) : add_outer(slice);
    }

  private:
    template <class Real>
    void add_tokens(const SliceToPack<Real>& slice) {
        const OuterSegment& matrix = slice.segments.front();
        std::vector<TokenWork<Real>> of_panel;
        append_token_blocks<Real>({nullptr, 0, matrix.delta_width, matrix.input_width, 0, 0, nullptr},
                                  of_panel);
        for (const TileToPack<Real>& tile : slice.tiles)
            for (const TokenChunk& chunk : tile.chunks) {
                if (tile.factors.empty()) break;
                const auto tokens = static_cast<std::size_t>(padded_tokens(chunk, slice.panel_rows));
                rows += tokens * sizeof(TokenOnDevice<Real>);
                blocks += tokens / static_cast<std::size_t>(slice.panel_rows) * of_panel.size() *
                          sizeof(TokenWork<Real>);
            }
    }
    template <class Real>
    void add_outer(const SliceToPack<Real>& slice) {
        for (const TileToPack<Real>& tile : slice.tiles) {
            rows += tile.factors.size() * sizeof(RowOnDevice<Real>);
            for (const OuterSegment& segment : slice.segments)
                if (!tile.factors.empty())
                    blocks += sizeof(OuterWork<Real>) *
                              static_cast<std::size_t>(
                                  parts(tile.padded_rows, rows_at_once) *
                                  parts(segment.depth / segment.input_width + 2, outputs_at_once) *
                                  parts(segment.input_width, inputs_at_once));
        }
    }
};

}  // namespace

std::size_t DeviceFactors::bytes() const {
    std::size_t sum = lists_.bytes();
    for (const auto& [at, held] : held_) sum += held.buffer.bytes();
    return sum;
}

template <class Real>
std::size_t DeviceFactors::bytes_of(Index rows, Index width) {
    return sizeof(Real) * static_cast<std::size_t>(rows * stride_of<Real>(width));
}

template <class Real>
std::size_t DeviceFactors::missing(const SliceToPack<Real>& slice) const {
    const ListBytes lists(slice);
    std::size_t sum = std::max(lists.rows + lists.blocks, lists_.bytes()) - lists_.bytes();
    for (const FactorRows<Real>& rows : slice.factors)
        if (!held_.contains(rows.entries)) sum += bytes_of<Real>(rows.rows, rows.width);
    return sum;
}

template <class Real>
void DeviceFactors::hold(const SliceToPack<Real>& slice, Buffer& staged) {
    const ListBytes lists(slice);
    runtime_->wait(Stream::copies);
    lists_.reserve(lists.rows + lists.blocks);
    staged_lists_.reserve(lists.rows + lists.blocks);
    for (const FactorRows<Real>& rows : slice.factors) {
        if (rows.rows == 0 || held_.contains(rows.entries)) continue;
        Held held{Buffer(*runtime_, Memory::device), rows.width, stride_of<Real>(rows.width), nullptr};
        copy(rows, held.buffer.reserve(bytes_of<Real>(rows.rows, rows.width)), staged);
        held_.emplace(rows.entries, std::move(held));
    }
}

/// As many rows at a time as `staged` takes.
template <class Real>
void DeviceFactors::copy(const FactorRows<Real>& rows, std::byte* to, Buffer& staged) {
    const Index stride = stride_of<Real>(rows.width);
    const std::size_t row_bytes = sizeof(Real) * static_cast<std::size_t>(stride);
    runtime_->wait(Stream::copies);
    staged.reserve(std::max(row_bytes, std::min(static_cast<std::size_t>(staged_sum_bytes),
                                                bytes_of<Real>(rows.rows, rows.width))));
    const Index at_once = static_cast<Index>(staged.bytes() / row_bytes);
    for (Index first = 0; first < rows.rows; first += at_once) {
        const Index count = std::min(at_once, rows.rows - first);
        Real* const out = reinterpret_cast<Real*>(staged.data());
        runtime_->wait(Stream::copies);
        constexpr Index together = 256;
        parallel_for(parts(count, together), [&](Index part) {
            for (Index r = part * together; r < std::min(count, (part + 1) * together); ++r) {
                std::copy_n(rows.entries + (first + r) * rows.width, rows.width, out + r * stride);
                std::fill(out + r * stride + rows.width, out + (r + 1) * stride, Real(0));
            }
        });
        runtime_->copy(to + static_cast<std::size_t>(first) * row_bytes, staged.data(),
                       static_cast<std::size_t>(count) * row_bytes, Stream::copies);
    }
    runtime_->wait(Stream::copies);
}

template <class Real>
RowsThere<Real> DeviceFactors::room_for(Real* home, Index rows, Index width) {
    const Index stride = stride_of<Real>(width);
    Held held{Buffer(*runtime_, Memory::device), width, stride, reinterpret_cast<std::byte*>(home),
              sizeof(Real)};
    auto* const first = reinterpret_cast<Real*>(held.buffer.reserve(bytes_of<Real>(rows, width)));
    held_.emplace(home, std::move(held));
    return {first, width, stride};
}

/// As many rows at a time as `staged` takes.
void DeviceFactors::bring_home(const void* home, Buffer& staged) {
    const auto found = held_.find(home);
    if (found == held_.end() || found->second.to == nullptr) return;
    Held& held = found->second;
    const auto bytes = [&](Index entries) { return held.entry_bytes * static_cast<std::size_t>(entries); };
    const std::size_t stride = bytes(held.stride), width = bytes(held.width);
    const auto rows = static_cast<Index>(held.buffer.bytes() / stride);
    runtime_->wait(Stream::copies);
    staged.reserve(
        std::max(stride, std::min(static_cast<std::size_t>(staged_sum_bytes), held.buffer.bytes())));
    const auto at_once = static_cast<Index>(staged.bytes() / stride);
    for (Index first = 0; first < rows; first += at_once) {
        const Index count = std::min(at_once, rows - first);
        runtime_->copy(staged.data(), held.buffer.data() + static_cast<std::size_t>(first) * stride,
                       static_cast<std::size_t>(count) * stride, Stream::copies);
        runtime_->wait(Stream::copies);
        constexpr Index together = 256;
        parallel_for(parts(count, together), [&](Index part) {
            for (Index r = part * together; r < std::min(count, (part + 1) * together); ++r)
                std::memcpy(held.to + static_cast<std::size_t>(first + r) * width,
                            staged.data() + static_cast<std::size_t>(r) * stride, width);
        });
    }
    held.to = nullptr;
}

template <class Real>
const Real* DeviceFactors::on_device(const Real* row) const {
    const auto& [first, held] = *std::prev(held_.upper_bound(row));
    const Index place = (row - static_cast<const Real*>(first)) / held.width;
    return reinterpret_cast<const Real*>(held.buffer.data()) + place * held.stride;
}

template <class Real>
void DeviceFactors::multiply_out(const SliceToPack<Real>& slice, const std::vector<Real*>& tiles) {
    const auto* const rows_at = reinterpret_cast<const RowOnDevice<Real>*>(lists_.data());
    std::vector<RowOnDevice<Real>> rows;
    std::vector<OuterWork<Real>> blocks;
    for (std::size_t t = 0; t < slice.tiles.size(); ++t) {
        const TileToPack<Real>& tile = slice.tiles[t];
        auto of_row = tile.factors.begin();
        for (const OuterSegment& segment : slice.segments) {
            if (tile.factors.empty()) break;
            OuterWork<Real> work{};
            work.rows = rows_at + rows.size();
            work.row_count = tile.rows;
            work.padded_rows = tile.padded_rows;
            work.panel_rows = slice.panel_rows;
            work.out = tiles[t] + segment.before * tile.padded_rows;
            work.copies = slice.copies;
            work.sign = slice.sign;
            work.first = segment.first;
            work.depth = segment.depth;
            work.delta_stride = stride_of<Real>(segment.delta_width);
            work.input_stride = stride_of<Real>(segment.input_width);
            work.input_width = segment.input_width;
            append_outer_blocks(work, blocks);
            for (Index r = 0; r < tile.rows; ++r, ++of_row)
                rows.push_back(of_row->tokens == 0
                                   ? RowOnDevice<Real>{}
                                   : RowOnDevice<Real>{on_device(of_row->delta), on_device(of_row->input),
                                                       of_row->tokens});
        }
    }
    runtime_->multiply_out(send_lists(rows, blocks), std::ssize(blocks));
}

static_assert(products::panel_rows <= most_panel_rows);

template <class Real>
void DeviceFactors::pack_tokens(const SliceToPack<Real>& slice, const std::vector<Real*>& tiles) {
    const OuterSegment& matrix = slice.segments.front();
    const auto* const tokens_at = reinterpret_cast<const TokenOnDevice<Real>*>(lists_.data());
    std::vector<TokenOnDevice<Real>> tokens;
    std::vector<TokenWork<Real>> blocks;
    for (std::size_t t = 0; t < slice.tiles.size(); ++t) {
        const TileToPack<Real>& tile = slice.tiles[t];
        Real* out = tiles[t];
        for (const TokenChunk& chunk : tile.chunks) {
            if (tile.factors.empty()) break;
            const std::size_t first = tokens.size();
            for (Index row = chunk.first_row; row < chunk.last_row; ++row) {
                const RowFactors<Real>& of = tile.factors[static_cast<std::size_t>(row)];
                const Real *const delta = of.tokens == 0 ? nullptr : on_device(of.delta),
                                  *const input = of.tokens == 0 ? nullptr : on_device(of.input);
                for (Index i = 0; i < of.tokens; ++i)
                    tokens.push_back({delta + i * stride_of<Real>(matrix.delta_width),
                                      input + i * stride_of<Real>(matrix.input_width)});
                tokens.resize(
                    tokens.size() +
                    static_cast<std::size_t>(tile.row_tokens[static_cast<std::size_t>(row)] - of.tokens));
            }
            tokens.resize(first + static_cast<std::size_t>(padded_tokens(chunk, slice.panel_rows)));
            for (std::size_t panel = first; panel < tokens.size();
                 panel += static_cast<std::size_t>(slice.panel_rows)) {
                append_token_blocks<Real>(
                    {tokens_at + panel, slice.panel_rows, matrix.delta_width, matrix.input_width, 0, 0, out},
                    blocks);
                out += slice.panel_rows * (matrix.delta_width + matrix.input_width);
            }
        }
    }
    runtime_->pack_tokens(send_lists(tokens, blocks), std::ssize(blocks));
}

template <class Row, class Work>
const Work* DeviceFactors::send_lists(const std::vector<Row>& rows, const std::vector<Work>& blocks) {
    const std::size_t row_bytes = rows.size() * sizeof(Row), block_bytes = blocks.size() * sizeof(Work);
    std::memcpy(staged_lists_.data(), rows.data(), row_bytes);
    std::memcpy(staged_lists_.data() + row_bytes, blocks.data(), block_bytes);
    runtime_->copy(lists_.data(), staged_lists_.data(), row_bytes + block_bytes, Stream::copies);
    return reinterpret_cast<const Work*>(lists_.data() + row_bytes);
}

template std::size_t DeviceFactors::missing(const SliceToPack<float>&) const;
template std::size_t DeviceFactors::missing(const SliceToPack<double>&) const;
template RowsThere<float> DeviceFactors::room_for(float*, Index, Index);
template RowsThere<double> DeviceFactors::room_for(double*, Index, Index);
template std::size_t DeviceFactors::bytes_of<float>(Index, Index);
template std::size_t DeviceFactors::bytes_of<double>(Index, Index);
template void DeviceFactors::hold(const SliceToPack<float>&, Buffer&);
template void DeviceFactors::hold(const SliceToPack<double>&, Buffer&);
template void DeviceFactors::multiply_out(const SliceToPack<float>&, const std::vector<float*>&);
template void DeviceFactors::multiply_out(const SliceToPack<double>&, const std::vector<double*>&);
template void DeviceFactors::pack_tokens(const SliceToPack<float>&, const std::vector<float*>&);
template void DeviceFactors::pack_tokens(const SliceToPack<double>&, const std::vector<double*>&);

}  // namespace tangram::device
