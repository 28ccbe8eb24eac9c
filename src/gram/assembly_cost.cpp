#include "tangram/gram/assembly_cost.hpp"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>
#include <tuple>

#include "row_tiles.hpp"
#include "tangram/jacobian/factor_bytes.hpp"

namespace tangram {

namespace {

constexpr Index tile_rows = arithmetic::tile_rows;

/// Per tile of one data set the entries of a segment of depth one, for one way of packing; factors count
/// whole.
std::vector<double> entries_of_tiles(const RowTiles& tiles, const Slice& slice) {
    Segment segment = slice.segments.front();
    double depth = 0;
    for (const Segment& s : slice.segments) depth += static_cast<double>(s.depth());
    segment.first = 0;
    segment.last = 1;
    if (slice.contraction == Contraction::factors) depth = 1;
    depth *= static_cast<double>(slice.copies());
    std::vector<double> entries;
    for (Index t = 0; t < tiles.tiles(); ++t)
        entries.push_back(depth * static_cast<double>(tiles.entries(
                                      slice.contraction, segment,
                                      tiles.form(t, slice.contraction, slice.segments.front().parameter))));
    return entries;
}

/// Slices that are packed alike but for their depth: multiplied-out ones all, others by tensor and depth.
struct Alike {
    Slice deepest;
    double deepest_depth = 0, whole_depth = 0;
};

double depth_of(const Slice& slice) {
    double depth = 0;
    for (const Segment& segment : slice.segments) depth += static_cast<double>(segment.depth());
    return depth;
}

}  // namespace

template <class Real>
AssemblyCost assembly_cost(const Program& program, std::span<const std::int32_t> label_ids,
                           const DataSet& train, const DataSet* test, const KernelOutputs& outputs,
                           const std::vector<ParameterId>& parameters,
                           const std::vector<KernelFormula>& formulas, int grid_rows, int grid_columns,
                           double factor_limit, Index sketch_dimension, std::size_t group_count) {
    AssemblyCost cost;
    const int ranks = grid_rows * grid_columns;
    const std::vector<Slice> slices =
        slices_of(program, parameters, formulas, outputs.components(), sketch_dimension);
    cost.slices = std::ssize(slices);

    const Index block = arithmetic::tile_rows_of(kernel_rows(train, outputs).back());
    const RowTiles train_tiles(program, train, outputs, label_ids, block);
    std::vector<RowTiles> sets{train_tiles};
    if (test != nullptr) sets.emplace_back(program, *test, outputs, label_ids, block);
    const double n = static_cast<double>(train_tiles.count()),
                 m = test != nullptr ? static_cast<double>(sets[1].count()) : 0.0;

    // Packed tiles: entries by tile of every way of packing, then sums over what each rank keeps.
    std::map<std::tuple<Index, Contraction, ParameterId>, Alike> ways;
    for (const Slice& slice : slices) {
        const bool multiplied = slice.contraction == Contraction::multiply_out;
        Alike& way =
            ways[{slice.copies(), slice.contraction, multiplied ? 0 : slice.segments.front().parameter}];
        const double depth = depth_of(slice);
        way.whole_depth += depth;
        if (depth > way.deepest_depth) {
            way.deepest_depth = depth;
            way.deepest = slice;
        }
    }
    std::vector<double> slice_entries(static_cast<std::size_t>(ranks), 0.0), received(slice_entries);
    for (const auto& [key, way] : ways) {
        std::vector<double> kept(static_cast<std::size_t>(ranks), 0.0);
        for (std::size_t s = 0; s < sets.size(); ++s) {
            const std::vector<double> entries = entries_of_tiles(sets[s], way.deepest);
            const Index first_owner = s == 0 ? 0 : train_tiles.tiles();
            for (Index t = 0; t < sets[s].tiles(); ++t) {
                const double whole =
                    entries[static_cast<std::size_t>(t)] * way.whole_depth / way.deepest_depth;
                cost.packed_entries += whole;
                for (int rank = 0; rank < ranks; ++rank) {
                    const bool owned = (first_owner + t) % ranks == rank;
                    const bool needed = t % grid_rows == rank / grid_columns ||
                                        (s == 0 && t % grid_columns == rank % grid_columns);
                    if (owned || needed)
                        kept[static_cast<std::size_t>(rank)] += entries[static_cast<std::size_t>(t)];
                    if (needed && !owned) received[static_cast<std::size_t>(rank)] += whole;
                }
            }
        }
        for (std::size_t rank = 0; rank < kept.size(); ++rank)
            slice_entries[rank] = std::max(slice_entries[rank], kept[rank]);
    }
    cost.slice_bytes = (slices.size() > 1 ? 2.0 : 1.0) * sizeof(Real) *
                       *std::max_element(slice_entries.begin(), slice_entries.end());
    cost.received_bytes = sizeof(Real) * *std::max_element(received.begin(), received.end());

    // Flops of a pair of rows, and of all: those of symmetric kernels on half of the tiles.
    double half = 0, full = 0;
    for (const Slice& slice : slices)
        (slice.formula == Formula::asymmetric_signgd ? full : half) += slice.pair_flops;
    cost.product_flops = half * (n * (n + 1) / 2 + m * n) + full * (n * n + m * n);

    // Matrices and the work of the products.
    const auto sets_of_matrices = static_cast<double>(formulas.size());
    std::vector<double> work(static_cast<std::size_t>(ranks), 0.0);
    double all_work = 0;
    for (int rank = 0; rank < ranks; ++rank) {
        const int p = rank / grid_columns, q = rank % grid_columns;
        double rows = 0, columns = 0, test_rows = 0;
        for (Index t = 0; t < train_tiles.tiles(); ++t) {
            if (t % grid_rows == p) rows += static_cast<double>(train_tiles.rows(t));
            if (t % grid_columns == q) columns += static_cast<double>(train_tiles.rows(t));
        }
        for (Index t = p; test != nullptr && t < sets[1].tiles(); t += grid_rows)
            test_rows += static_cast<double>(sets[1].rows(t));
        cost.matrix_bytes = std::max(
            cost.matrix_bytes,
            8 * (sets_of_matrices * (rows + test_rows) + static_cast<double>(group_count) * rows) * columns);
        double& own = work[static_cast<std::size_t>(rank)];
        own = (half + full) * test_rows * columns + full * rows * columns;
        for (Index J = q; J < train_tiles.tiles(); J += grid_columns)
            for (Index I = p; I < train_tiles.tiles(); I += grid_rows)
                if (is_computed(I, J, train_tiles.tiles()))
                    own += half * static_cast<double>(train_tiles.rows(I)) *
                           static_cast<double>(train_tiles.rows(J)) * (I == J ? 0.5 : 1.0);
        all_work += own;
    }
    cost.imbalance = *std::max_element(work.begin(), work.end()) * ranks / all_work;

    // Factors: of the largest share of examples.
    Index most_tokens = 0, most_examples = 0, tokens = 0, examples = 0;
    for (int rank = 0; rank < std::min<Index>(ranks, train_tiles.tiles() + (m > 0 ? sets[1].tiles() : 0));
         ++rank) {
        Index own_tokens = 0, own_examples = 0;
        for (std::size_t s = 0; s < sets.size(); ++s) {
            std::set<Index> own;
            for (Index t = 0; t < sets[s].tiles(); ++t)
                if (((s == 0 ? 0 : train_tiles.tiles()) + t) % ranks == rank)
                    for (Index r = 0; r < sets[s].rows(t); ++r)
                        own.insert(sets[s].example_of(sets[s].first_row(t) + r));
            own_examples += std::ssize(own);
            for (const Index example : own) own_tokens += std::ssize(sets[s].data().tokens(example));
        }
        most_tokens = std::max(most_tokens, own_tokens);
        most_examples = std::max(most_examples, own_examples);
        tokens += own_tokens;
        examples += own_examples;
    }
    Sketch sketch{sketch_dimension};
    for (std::size_t s = 0; s < parameters.size(); ++s)
        if (formulas.front().choices[s].chosen == Contraction::sketched)
            sketch.parameters.push_back(parameters[s]);
    std::sort(sketch.parameters.begin(), sketch.parameters.end());
    const FactorBytes factors(
        program, {most_tokens, most_examples, outputs.passes(), static_cast<Index>(sizeof(Real))}, sketch);
    const auto bytes = [&](const std::vector<ParameterId>& of) {
        return static_cast<double>(factors.of(of));
    };
    const auto groups = groups_of(
        slices, [&](const std::vector<ParameterId>& together) { return bytes(together) <= factor_limit; });
    cost.passes = std::ssize(groups);
    for (const SliceGroup& group : groups)
        cost.factor_bytes = std::max(cost.factor_bytes, bytes(group.parameters));
    cost.pass_flops = static_cast<double>(cost.passes) * forward_flops(program, tokens, examples) *
                      static_cast<double>(1 + outputs.passes());
    return cost;
}

template <class Real>
double product_seconds_per_flop() {
    using Clock = std::chrono::steady_clock;
    constexpr Index depth = arithmetic::slice_depth, tiles = 4;
    const std::vector<Real> packed(static_cast<std::size_t>(tiles * padded_rows(tile_rows) * depth),
                                   Real(0.5));
    std::vector<double> to(static_cast<std::size_t>(tile_rows * tile_rows), 0.0);
    TileForm form;
    form.rows = tile_rows;
    const auto start = Clock::now();
    double flops = 0, seconds = 0;
    for (Index t = 0; seconds < 0.1; ++t) {
        add_tile_product(Contraction::multiply_out, Segment{0, 0, 0, 0, depth, false}, {},
                         packed.data() + t % tiles * padded_rows(tile_rows) * depth, form,
                         packed.data() + (t + 1) % tiles * padded_rows(tile_rows) * depth, form, false,
                         TileSums{to.data()});
        flops += 2.0 * static_cast<double>(tile_rows * tile_rows * depth);
        seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    return seconds / flops;
}

template double product_seconds_per_flop<float>();
template double product_seconds_per_flop<double>();
template AssemblyCost assembly_cost<float>(const Program&, std::span<const std::int32_t>, const DataSet&,
                                           const DataSet*, const KernelOutputs&,
                                           const std::vector<ParameterId>&, const std::vector<KernelFormula>&,
                                           int, int, double, Index, std::size_t);
template AssemblyCost assembly_cost<double>(const Program&, std::span<const std::int32_t>, const DataSet&,
                                            const DataSet*, const KernelOutputs&,
                                            const std::vector<ParameterId>&,
                                            const std::vector<KernelFormula>&, int, int, double, Index,
                                            std::size_t);

}  // namespace tangram
