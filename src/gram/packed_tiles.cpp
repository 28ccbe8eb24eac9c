#include "packed_tiles.hpp"

#include <algorithm>
#include <cmath>
#include <set>

#include "tangram/parallel/communicator.hpp"
#include "tangram/products.hpp"

namespace tangram {

namespace {

constexpr Index panel = products::panel_rows, octet = 8;

template <class Real>
MPI_Datatype mpi_type() {
    return std::is_same_v<Real, float> ? MPI_FLOAT : MPI_DOUBLE;
}

/// out[k * panel + r] = rows[r * stride + k] for a panel of rows, k < depth: short runs of both stay in the
/// cache.
template <class Real>
void interleave(const Real* rows, Index stride, Index depth, Real* out) {
    constexpr Index run = 16;
    for (Index k = 0; k < depth; k += run) {
        const Index end = std::min(depth, k + run);
        for (Index r = 0; r < panel; ++r)
            for (Index i = k; i < end; ++i) out[i * panel + r] = rows[r * stride + i];
    }
}

}  // namespace

template <class Real>
PackedTiles<Real>::PackedTiles(const KernelInputs<Real>& inputs, const DataSet& data, Index tile_rows,
                               Index first_owner, const ProcessGrid& grid, bool columns_too)
    : inputs_(&inputs),
      layout_(inputs.network.program(), data, inputs.outputs, inputs.network.label_ids(), tile_rows),
      grid_(&grid),
      first_owner_(first_owner),
      columns_too_(columns_too) {
    std::set<Index> examples;
    for (Index t = 0; t < layout_.tiles(); ++t)
        if (owner(t) == grid.comm().rank())
            for (Index r = 0; r < layout_.rows(t); ++r)
                examples.insert(layout_.example_of(layout_.first_row(t) + r));
    Index place = 0;
    for (const Index example : examples) place_[example] = place++;
}

template <class Real>
Index PackedTiles<Real>::own_tokens() const {
    Index tokens = 0;
    for (const auto& [example, place] : place_) tokens += std::ssize(layout_.data().tokens(example));
    return tokens;
}

template <class Real>
void PackedTiles<Real>::load(const std::vector<ParameterId>& parameters, const PassProgress& progress) {
    factors_.reset();  // before the next ones are allocated
    std::vector<Index> examples;
    for (const auto& [example, place] : place_) examples.push_back(example);
    factors_.emplace(inputs_->network, layout_.data(), std::move(examples), inputs_->outputs, parameters,
                     inputs_->sketch(), progress);
}

template <class Real>
std::vector<double> PackedTiles<Real>::outputs() const {
    const Index labels = inputs_->network.labels();
    std::vector<double> all(static_cast<std::size_t>(layout_.data().examples() * labels), 0.0);
    for (const auto& [example, place] : place_)
        if (owner(layout_.tile_of(layout_.first_row_of(example))) == grid_->comm().rank())
            std::copy_n(factors_->logits().begin() + place * labels, labels, all.begin() + example * labels);
    sum_over_ranks(grid_->comm().get(), all);
    return all;
}

template <class Real>
const Real* PackedTiles<Real>::tile(int buffer, Index t) const {
    const Buffer& from = buffers_[at(buffer)];
    return from.entries.data() + from.offsets.at(t);
}

template <class Real>
void PackedTiles<Real>::pack_products(Index tile, const Segment& segment, Real* out) const {
    const Index padded = padded_rows(layout_.rows(tile));
#pragma omp parallel for schedule(dynamic)
    for (Index first = 0; first < padded; first += panel) {
        static thread_local std::vector<Real> gradients;
        gradients.assign(static_cast<std::size_t>(panel * segment.depth()), Real(0));
        for (Index r = 0; r < std::min(panel, layout_.rows(tile) - first); ++r) {
            const Index row = layout_.first_row(tile) + first + r;
            factors_->multiply_out(
                segment.parameter, segment.first, segment.last, place_.at(layout_.example_of(row)),
                layout_.pass_of(row, segment.component), gradients.data() + r * segment.depth());
        }
        for (Index k = 0; k < segment.depth(); k += arithmetic::product_depth) {
            const Index depth = std::min(arithmetic::product_depth, segment.depth() - k);
            interleave(gradients.data() + k, segment.depth(), depth, out + k * padded + first * depth);
        }
    }
}

template <class Real>
void PackedTiles<Real>::pack_factors(Index tile, const Segment& segment, const TileForm& form,
                                     Real* out) const {
    const auto& shape = inputs_->network.program().parameters()[segment.parameter].shape;
    const Index stride = shape[0] + shape[1];
    for (const TokenChunk& chunk : form.chunks) {
        std::fill_n(out, padded_rows(chunk.tokens) * stride, Real(0));
        Index token = 0;
        for (Index r = chunk.first_row; r < chunk.last_row; ++r) {
            const Index row = layout_.first_row(tile) + r;
            const auto outer = factors_->outer_rows(segment.parameter, place_.at(layout_.example_of(row)),
                                                    layout_.pass_of(row, segment.component));
            for (Index t = 0; t < outer.count; ++t, ++token) {
                Real* const to = out + token / panel * panel * stride + token % panel;
                for (Index k = 0; k < shape[0]; ++k) to[k * panel] = outer.delta[t * shape[0] + k];
                for (Index k = 0; k < shape[1]; ++k)
                    to[(shape[0] + k) * panel] = outer.input[t * shape[1] + k];
            }
        }
        out += padded_rows(chunk.tokens) * stride;
    }
}

template <class Real>
void PackedTiles<Real>::pack_matching(Index tile, const Segment& segment, const TileForm& form,
                                      Real* out) const {
    const Index columns = segment.depth();
    std::fill_n(out, form.octets * octet * columns, Real(0));
    std::vector<Index> next(form.matches.size(), 0);  // entries of each match that are filled
    std::vector<Real> table_rows;
    for (Index r = 0; r < form.rows; ++r) {
        const Index row = layout_.first_row(tile) + r, example = layout_.example_of(row);
        const std::vector<Index> ids = layout_.table_rows(segment.parameter, example);
        table_rows.assign(ids.size() * static_cast<std::size_t>(columns), Real(0));
        factors_->add_table_rows(segment.parameter, ids, segment.first, segment.last, place_.at(example),
                                 layout_.pass_of(row, segment.component), table_rows.data(), columns);
        auto match = form.matches.begin();
        for (std::size_t i = 0; i < ids.size(); ++i) {
            match = std::lower_bound(match, form.matches.end(), ids[i],
                                     [](const MatchingRows& m, Index id) { return m.id < id; });
            const Index entry = next[static_cast<std::size_t>(match - form.matches.begin())]++;
            const Index place = match->first_octet * octet + entry;
            Real* const to = out + place / octet * octet * columns + place % octet;
            for (Index k = 0; k < columns; ++k)
                to[k * octet] =
                    table_rows[i * static_cast<std::size_t>(columns) + static_cast<std::size_t>(k)];
        }
    }
}

template <class Real>
void PackedTiles<Real>::pack(Index tile, const Slice& slice, const TileForm& form, Real* out) const {
    for (const Segment& segment : slice.segments) {
        switch (slice.contraction) {
            case Contraction::multiply_out:
            case Contraction::sketched:
                pack_products(tile, segment, out);
                break;
            case Contraction::factors:
                pack_factors(tile, segment, form, out);
                break;
            case Contraction::matching_rows:
                pack_matching(tile, segment, form, out);
                break;
        }
        const Index entries = layout_.entries(slice.contraction, segment, form);
        if (slice.formula != Formula::sgd) {
            // In a mean over C labels each label's kernel of signs has a share of 1/C.
            const auto one = static_cast<Real>(1.0 / std::sqrt(inputs_->outputs.components()));
            Real* const signs = out + (slice.copies() - 1) * entries;
#pragma omp parallel for
            for (Index i = 0; i < entries; ++i) signs[i] = out[i] > 0 ? one : out[i] < 0 ? -one : Real(0);
        }
        out += slice.copies() * entries;
    }
}

template <class Real>
Index PackedTiles<Real>::post(const Slice& slice, int buffer, int tag, std::vector<MPI_Request>& requests) {
    Buffer& to = buffers_[at(buffer)];
    to.offsets.clear();
    to.forms.clear();
    Index entries = 0;
    std::map<Index, Index> sizes;
    for (Index t = 0; t < layout_.tiles(); ++t) {
        if (!kept(t)) continue;
        const TileForm& form = to.forms[t] =
            layout_.form(t, slice.contraction, slice.segments.front().parameter);
        to.offsets[t] = entries;
        sizes[t] = layout_.entries(slice, form);
        entries += sizes[t];
    }
    if (std::ssize(to.entries) < entries) {
        to.entries = {};  // before the larger one is allocated
        to.entries.resize(static_cast<std::size_t>(entries));
    }
    const int me = grid_->comm().rank();
    Index received = 0;
    for (const auto& [t, offset] : to.offsets) {
        if (owner(t) == me) continue;
        requests.emplace_back();
        TANGRAM_MPI(MPI_Irecv(to.entries.data() + offset, narrow(sizes[t], "packed tile"), mpi_type<Real>(),
                              owner(t), tag, grid_->comm().get(), &requests.back()));
        received += sizes[t] * static_cast<Index>(sizeof(Real));
    }
    for (const auto& [t, offset] : to.offsets) {
        if (owner(t) != me) continue;
        Real* const packed = to.entries.data() + offset;
        pack(t, slice, to.forms[t], packed);
        for (int p = 0; p < grid_->rows(); ++p)
            for (int q = 0; q < grid_->columns(); ++q)
                if (grid_->rank_of(p, q) != me && needs(t, p, q)) {
                    requests.emplace_back();
                    TANGRAM_MPI(MPI_Isend(packed, narrow(sizes[t], "packed tile"), mpi_type<Real>(),
                                          grid_->rank_of(p, q), tag, grid_->comm().get(), &requests.back()));
                }
    }
    return received;
}

template class PackedTiles<float>;
template class PackedTiles<double>;

}  // namespace tangram
