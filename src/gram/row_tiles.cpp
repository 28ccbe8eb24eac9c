#include "row_tiles.hpp"

#include <algorithm>

namespace tangram {

namespace {

constexpr Index octet = 8;

}  // namespace

RowTiles::RowTiles(const Program& program, const DataSet& data, const KernelOutputs& outputs,
                   std::span<const std::int32_t> label_ids, Index tile_rows)
    : program_(&program),
      data_(&data),
      outputs_(&outputs),
      label_ids_(label_ids),
      tile_rows_(tile_rows),
      factors_(factors_of(program)),
      offsets_(kernel_rows(data, outputs)) {
    for (Index e = 0; e < data.examples(); ++e)
        example_of_.resize(static_cast<std::size_t>(offsets_[static_cast<std::size_t>(e) + 1]), e);
}

std::vector<Index> RowTiles::table_rows(ParameterId parameter, Index example) const {
    return row_ids(factors_[parameter], *data_, example, label_ids_, *outputs_);
}

TileForm RowTiles::form(Index tile, Contraction contraction, ParameterId parameter) const {
    TileForm form;
    form.rows = rows(tile);
    if (contraction == Contraction::factors) {
        constexpr Index tokens_at_once = 128;  // two blocks of products of 128 x 128 stay in the cache
        const bool whole = program_->shape(factors_[parameter].front().delta).rows == RowSet::tokens;
        for (Index r = 0; r < form.rows; ++r) {
            const Index tokens = whole ? std::ssize(data_->tokens(example_of(first_row(tile) + r))) : 1;
            form.row_tokens.push_back(tokens);
            if (form.chunks.empty() || form.chunks.back().tokens + tokens > tokens_at_once)
                form.chunks.push_back({r, r, 0});
            form.chunks.back().last_row = r + 1;
            form.chunks.back().tokens += tokens;
        }
    }
    if (contraction == Contraction::matching_rows) {
        std::vector<std::pair<Index, Index>> reached;  // id, row of the tile
        for (Index r = 0; r < form.rows; ++r)
            for (const Index id : table_rows(parameter, example_of(first_row(tile) + r)))
                reached.emplace_back(id, r);
        std::sort(reached.begin(), reached.end());
        for (const auto& [id, row] : reached) {
            if (form.matches.empty() || form.matches.back().id != id)
                form.matches.push_back({id, std::ssize(form.matching_rows), 0, 0});
            ++form.matches.back().count;
            form.matching_rows.push_back(row);
        }
        for (MatchingRows& match : form.matches) {
            match.first_octet = form.octets;
            form.octets += (match.count + octet - 1) / octet;
        }
    }
    return form;
}

Index RowTiles::entries(Contraction contraction, const Segment& segment, const TileForm& form) const {
    switch (contraction) {
        case Contraction::multiply_out:
        case Contraction::sketched:
            return padded_rows(form.rows) * segment.depth();
        case Contraction::factors: {
            const auto& shape = program_->parameters()[segment.parameter].shape;
            Index tokens = 0;
            for (const TokenChunk& chunk : form.chunks) tokens += padded_rows(chunk.tokens);
            return tokens * (shape[0] + shape[1]);
        }
        case Contraction::matching_rows:
            return form.octets * octet * segment.depth();
    }
    return 0;
}

Index RowTiles::entries(const Slice& slice, const TileForm& form) const {
    Index sum = 0;
    for (const Segment& segment : slice.segments) sum += entries(slice.contraction, segment, form);
    return sum * slice.copies();
}

}  // namespace tangram
