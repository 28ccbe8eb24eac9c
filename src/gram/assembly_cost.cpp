#include "tangram/gram/assembly_cost.hpp"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <numeric>
#include <tuple>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/product_back_end.hpp"
#include "tangram/jacobian/token_blocks.hpp"
#include "tile_contraction.hpp"

namespace tangram {

namespace {

constexpr Index tile_rows = arithmetic::tile_rows;

/// Slices that are packed alike but for their depth: multiplied-out ones all, others by tensor; of a
/// vocabulary, whose features go along with every slice, those of one depth.
struct Alike {
    const Slice* deepest = nullptr;
    double deepest_depth = 0, whole_depth = 0;
};

std::vector<Alike> slices_packed_alike(const Slices& slices) {
    std::map<std::tuple<Index, Contraction, ParameterId, Index>, Alike> ways;
    for (const Slices::Run& run : slices.runs()) {
        const bool multiplied = run.slice.contraction == Contraction::multiply_out;
        Alike& way = ways[{run.slice.copies(), run.slice.contraction,
                           multiplied ? 0 : run.slice.segments.front().parameter,
                           run.slice.segments.front().vocabulary ? run.slice.depth() : 0}];
        const auto depth = static_cast<double>(run.slice.depth());
        way.whole_depth += depth * static_cast<double>(run.count);
        if (depth > way.deepest_depth) {
            way.deepest_depth = depth;
            way.deepest = &run.slice;
        }
    }
    std::vector<Alike> all;
    for (const auto& [key, way] : ways) all.push_back(way);
    return all;
}

/// Slices that are packed alike, and the entries of their tiles, by data set and tile.
struct PackedAlike {
    Contraction contraction;
    double whole;  ///< the depths of all of them over the deepest's, whose entries these are
    std::vector<std::vector<double>> entries;
    Index longest_chunk = 0;  ///< tokens
};

PackedAlike packed(const Alike& way, std::span<const RowTiles> sets) {
    const Slice& slice = *way.deepest;
    const ContractionKind& kind = contraction_kind(slice.contraction);
    PackedAlike result{slice.contraction, way.whole_depth / way.deepest_depth, {}};
    for (const RowTiles& tiles : sets) {
        std::vector<double>& entries = result.entries.emplace_back();
        for (Index t = 0; t < tiles.tiles(); ++t) {
            const TileForm form = kind.form(tiles, t, slice.segments.front().parameter);
            entries.push_back(static_cast<double>(kind.entries(slice, form)));
            for (const TokenChunk& chunk : form.chunks)
                result.longest_chunk = std::max(result.longest_chunk, chunk.tokens);
        }
    }
    return result;
}

}  // namespace

/// What costs follow from on any grid: the tiles of the data sets, training and test, and the slices.
struct AssemblyShape::Parts {
    const Program& program;
    Index entry_bytes;
    KernelProblem problem;
    std::vector<RowTiles> sets;
    Slices slices;
    std::vector<PackedAlike> packed;
    std::vector<Index> together;  // examples of a set that go through the model together
};

namespace {

/// The same on one grid.
struct Plan {
    const AssemblyShape::Parts& parts;
    std::vector<RowTiles> sets;
    int grid_rows, grid_columns;

    const KernelProblem& problem() const { return parts.problem; }
    const Slices& slices() const { return parts.slices; }
    int ranks() const { return grid_rows * grid_columns; }
    const RowTiles& train() const { return sets[0]; }
};

/// Entries of some packed tiles by rank: those that it keeps, and of these others' that it needs.
struct PackedByRank {
    std::vector<double> kept, received;

    PackedByRank(int grid_rows, int grid_columns)
        : kept(static_cast<std::size_t>(grid_rows * grid_columns), 0.0),
          received(kept),
          grid_rows_(grid_rows),
          grid_columns_(grid_columns) {}
    /// @param entries  of each tile @param columns_too  they also stand on the right of a product
    void add(const RowTiles& tiles, const std::vector<double>& entries, bool columns_too) {
        std::vector<double> rows(static_cast<std::size_t>(grid_rows_), 0.0),
            columns(static_cast<std::size_t>(grid_columns_), 0.0), both(kept.size(), 0.0);
        for (Index t = 0; t < tiles.tiles(); ++t) {
            const double of_tile = entries[static_cast<std::size_t>(t)];
            const Index p = t % grid_rows_, q = t % grid_columns_;
            const auto owner = static_cast<std::size_t>(tiles.owner(t));
            if (tiles.needs(tiles.owner(t), t))
                received[owner] -= of_tile;
            else
                kept[owner] += of_tile;
            rows[static_cast<std::size_t>(p)] += of_tile;
            if (!columns_too) continue;
            columns[static_cast<std::size_t>(q)] += of_tile;
            both[static_cast<std::size_t>(p * grid_columns_ + q)] += of_tile;
        }
        for (std::size_t rank = 0; rank < kept.size(); ++rank) {
            const auto width = static_cast<std::size_t>(grid_columns_);
            const double needed = rows[rank / width] + columns[rank % width] - both[rank];
            kept[rank] += needed;
            received[rank] += needed;
        }
    }

  private:
    int grid_rows_, grid_columns_;
};

/// Packed entries by rank: of the largest slice those that it keeps, of all those that it receives.
void count_packed(const Plan& plan, AssemblyCost& cost) {
    const auto ranks = static_cast<std::size_t>(plan.ranks());
    std::vector<double> largest(ranks, 0.0), received(ranks, 0.0);
    double multiplied_out = 0, in_factors = 0, matched = 0;
    Index longest_chunk = 0;
    for (const PackedAlike& way : plan.parts.packed) {
        longest_chunk = std::max(longest_chunk, way.longest_chunk);
        PackedByRank of(plan.grid_rows, plan.grid_columns);
        for (std::size_t s = 0; s < plan.sets.size(); ++s) {
            of.add(plan.sets[s], way.entries[s], s == 0);
            cost.packed_entries +=
                std::accumulate(way.entries[s].begin(), way.entries[s].end(), 0.0) * way.whole;
        }
        for (std::size_t rank = 0; rank < ranks; ++rank) {
            largest[rank] = std::max(largest[rank], of.kept[rank]);
            received[rank] += of.received[rank] * way.whole;
        }
        const double most = std::ranges::max(of.kept);
        if (is_multiplied_out(way.contraction)) multiplied_out = std::max(multiplied_out, most);
        if (way.contraction == Contraction::factors) in_factors = std::max(in_factors, most);
        if (way.contraction == Contraction::matching_rows) matched = std::max(matched, most);
    }
    const auto bytes = static_cast<double>(plan.parts.entry_bytes);
    cost.back_end_slice_bytes = bytes * multiplied_out;
    cost.back_end_factor_bytes = longest_chunk <= chunk_tokens ? bytes * in_factors : 0;
    cost.back_end_match_bytes = bytes * matched;
    cost.slice_bytes = (plan.slices().count() > 1 ? 2.0 : 1.0) * bytes * std::ranges::max(largest);
    cost.received_bytes = bytes * std::ranges::max(received);
}

/// Matrices and the flops of the products: those of symmetric kernels on half of the tiles.
void count_products(const Plan& plan, AssemblyCost& cost) {
    double half = 0, full = 0;  // for a pair of rows
    for (const Slices::Run& run : plan.slices().runs())
        (run.slice.formula == Formula::asymmetric_signgd ? full : half) +=
            static_cast<double>(run.count) * run.slice.pair_flops;
    const RowTiles& train = plan.train();
    const auto rows_of = [](const RowTiles& tiles, Index first, Index step) {
        double rows = 0;
        for (Index t = first; t < tiles.tiles(); t += step) rows += static_cast<double>(tiles.rows(t));
        return rows;
    };
    const auto matrices = static_cast<double>(plan.problem().formulas.size()),
               groups = static_cast<double>(plan.problem().groups());
    const auto symmetric =
        static_cast<double>(std::ranges::count_if(plan.problem().formulas, [](const KernelFormula& of) {
            return of.formula != Formula::asymmetric_signgd;
        }));
    double all_work = 0, most_work = 0;
    for (int rank = 0; rank < plan.ranks(); ++rank) {
        const int p = rank / plan.grid_columns, q = rank % plan.grid_columns;
        const double rows = rows_of(train, p, plan.grid_rows), columns = rows_of(train, q, plan.grid_columns),
                     test_rows = plan.sets.size() > 1 ? rows_of(plan.sets[1], p, plan.grid_rows) : 0.0;
        cost.matrix_bytes =
            std::max(cost.matrix_bytes, 8 * (matrices * (rows + test_rows) + groups * rows) * columns);
        double work = (half + full) * test_rows * columns + full * rows * columns;
        double sums = matrices * test_rows * columns + (matrices - symmetric) * rows * columns;
        for (Index J = q; J < train.tiles(); J += plan.grid_columns)
            for (Index I = p; I < train.tiles(); I += plan.grid_rows)
                if (is_computed(I, J, train.tiles())) {
                    const auto entries = static_cast<double>(train.rows(I) * train.rows(J));
                    work += half * entries * (I == J ? 0.5 : 1.0);
                    sums += (symmetric + groups) * entries;
                }
        cost.back_end_sum_bytes = std::max(cost.back_end_sum_bytes, 8 * sums);
        all_work += work;
        most_work = std::max(most_work, work);
    }
    cost.imbalance = most_work * plan.ranks() / all_work;
    const double n = static_cast<double>(train.count()),
                 m = plan.sets.size() > 1 ? static_cast<double>(plan.sets[1].count()) : 0.0;
    cost.product_flops = half * (n * (n + 1) / 2 + m * n) + full * (n * n + m * n);
}

/// Examples that go through the model together.
struct Block {
    const DataSet* data = nullptr;
    std::vector<Index> examples;
    Index tokens = 0;
};

/// The blocks that a rank's examples go through the model in, the `most` with the most tokens.
std::vector<Block> largest_blocks(const Plan& plan, int rank, std::size_t most,
                                  const std::vector<Index>& together) {
    std::vector<Block> blocks;
    for (std::size_t s = 0; s < plan.sets.size(); ++s) {
        const DataSet& data = s == 0 ? plan.problem().train : *plan.problem().test;
        const std::vector<Index> examples = plan.sets[s].examples_of(rank);
        for (std::size_t i = 0; i < examples.size(); ++i) {
            if (static_cast<Index>(i) % together[s] == 0) blocks.push_back({&data, {}, 0});
            blocks.back().examples.push_back(examples[i]);
            blocks.back().tokens += data.passed(examples[i]).tokens;
        }
    }
    std::ranges::stable_sort(blocks, std::greater{}, &Block::tokens);
    blocks.resize(std::min(blocks.size(), most));
    return blocks;
}

/// Buffers of passes where every thread's largest block is one of the rank's largest, on the rank with most
/// tokens in these.
/// @param together  examples of a block, by data set
template <class Real>
double bytes_of_passes(const Plan& plan, const std::vector<Index>& together) {
    const Program& program = plan.parts.program;
    const auto threads = static_cast<std::size_t>(omp_get_max_threads());
    std::vector<Block> largest;
    Index most = -1;
    for (int rank = 0; rank < plan.ranks(); ++rank) {
        std::vector<Block> blocks = largest_blocks(plan, rank, threads, together);
        Index tokens = 0;
        for (const Block& block : blocks) tokens += block.tokens;
        if (tokens <= most) continue;
        most = tokens;
        largest = std::move(blocks);
    }
    const bool answers = plan.problem().train.scores_answers();
    const Index outputs = answers ? 1 : plan.problem().outputs.labels(),  // of a sequence
        softmax = answers ? TokenSoftmax<Real>::scratch_bytes(program.vocabulary_size) : 0;
    double bytes = 0;
    for (const Block& block : largest)
        bytes +=
            static_cast<double>(planned_pass_bytes<Real>(program, token_block(*block.data, block.examples),
                                                         outputs, plan.problem().parameters) +
                                softmax);
    return bytes;
}

template <class Real>
void count_passes(const Plan& plan, AssemblyCost& cost) {
    const std::vector<Index>& together = plan.parts.together;
    cost.pass_bytes = cost.large_pass_bytes = bytes_of_passes<Real>(plan, together);
    if (std::ranges::min(together) < arithmetic::examples_per_block)
        cost.large_pass_bytes =
            bytes_of_passes<Real>(plan, std::vector<Index>(together.size(), arithmetic::examples_per_block));
}

/// Factors of the largest share of examples, and the passes that leave them.
void count_factors(const Plan& plan, double factor_bytes, AssemblyCost& cost) {
    const KernelProblem& problem = plan.problem();
    const Program& program = plan.parts.program;
    PassedRows most, all;
    for (int rank = 0; rank < plan.ranks(); ++rank) {
        PassedRows own;
        for (std::size_t s = 0; s < plan.sets.size(); ++s)
            for (const Index example : plan.sets[s].examples_of(rank))
                own += (s == 0 ? problem.train : *problem.test).passed(example);
        most = {std::max(most.examples, own.examples), std::max(most.tokens, own.tokens),
                std::max(most.reads, own.reads)};
        all += own;
    }
    if (all.tokens > 0)
        cost.pass_imbalance =
            static_cast<double>(most.tokens * plan.ranks()) / static_cast<double>(all.tokens);
    const Index passes = backward_passes(problem.train, problem.outputs);
    const FactorBytes bytes(program, {most, passes, problem.outputs.passes(), plan.parts.entry_bytes},
                            problem.sketch());
    const std::vector<SliceGroup> groups = groups_of(plan.slices(), bytes, factor_bytes);
    cost.passes = std::ssize(groups);
    for (const SliceGroup& group : groups)
        cost.factor_bytes = std::max(cost.factor_bytes, static_cast<double>(group.bytes));
    cost.pass_flops = static_cast<double>(cost.passes) * pass_flops(program, problem.parameters, all, passes);
    cost.vocabulary_flops = static_cast<double>(problem.formulas.size()) *
                            vocabulary_flops(program, problem.parameters, all.reads);
}

}  // namespace

namespace {

/// Bytes of memory of which two slices and some sums leave what lists take.
double two_slices_and(double slice_bytes, double sum_bytes) {
    return slice_bytes == 0 ? 0 : (2 * slice_bytes + sum_bytes) / (1 - back_end_overhead);
}
constexpr double tile_sum_bytes = 8.0 * tile_rows * tile_rows;

}  // namespace

double AssemblyCost::back_end_least() const { return two_slices_and(back_end_slice_bytes, tile_sum_bytes); }

bool AssemblyCost::back_end_takes(Contraction contraction, double memory) const {
    if (is_multiplied_out(contraction)) return true;
    const double bytes = contraction == Contraction::factors ? back_end_factor_bytes : back_end_match_bytes;
    if (bytes == 0) return false;
    const double largest = std::max(back_end_slice_bytes, bytes);
    if (two_slices_and(largest, back_end_sum_bytes) <= memory) return true;
    // Not at the price of sums that stay there with multiplied-out slices alone.
    const bool sums_stay =
        back_end_slice_bytes > 0 && two_slices_and(back_end_slice_bytes, back_end_sum_bytes) <= memory;
    return !sums_stay && two_slices_and(largest, tile_sum_bytes) <= memory;
}

double AssemblyCost::back_end_slice(double memory) const {
    double largest = back_end_slice_bytes;
    if (back_end_takes(Contraction::factors, memory)) largest = std::max(largest, back_end_factor_bytes);
    if (back_end_takes(Contraction::matching_rows, memory)) largest = std::max(largest, back_end_match_bytes);
    return largest;
}

double AssemblyCost::back_end_whole(double memory) const {
    return two_slices_and(back_end_slice(memory), back_end_sum_bytes);
}

double AssemblyCost::staged_bytes() const {
    const double others = std::max(back_end_factor_bytes, back_end_match_bytes);
    if (back_end_slice_bytes + others == 0) return 0;
    return back_end_slice_bytes +
           std::min(staged_sum_bytes, std::max({back_end_sum_bytes, factor_bytes, others}));
}

template <class Real>
AssemblyShape AssemblyShape::of(const Program& program, std::span<const std::int32_t> label_ids,
                                const KernelProblem& problem) {
    const Index rows = kernel_rows(problem.train, problem.outputs).back(),
                test_rows = problem.test == nullptr ? 0 : kernel_rows(*problem.test, problem.outputs).back();
    auto parts = std::make_unique<Parts>(
        Parts{program,
              static_cast<Index>(sizeof(Real)),
              problem,
              {},
              Slices(program, problem.parameters, problem.formulas,
                     {rows + test_rows, problem.outputs.components(), problem.sketch_dimension}),
              {},
              {examples_per_block(problem.train, program, sizeof(Real))}});
    const Index block = arithmetic::tile_rows_of(rows);
    const KernelOutputs& outputs = parts->problem.outputs;  // of those that stay
    parts->sets.emplace_back(program, label_ids, problem.train, outputs, block);
    if (problem.test != nullptr) {
        parts->sets.emplace_back(program, label_ids, *problem.test, outputs, block);
        parts->together.push_back(examples_per_block(*problem.test, program, sizeof(Real)));
    }
    for (const Alike& way : slices_packed_alike(parts->slices))
        parts->packed.push_back(packed(way, parts->sets));
    return AssemblyShape(std::move(parts));
}

AssemblyCost AssemblyShape::cost(int grid_rows, int grid_columns, double factor_bytes) const {
    const Plan plan{*parts_, shared_on(grid_rows, grid_columns, parts_->sets), grid_rows, grid_columns};
    AssemblyCost cost;
    cost.slices = parts_->slices.count();
    count_packed(plan, cost);
    count_products(plan, cost);
    count_factors(plan, factor_bytes, cost);
    if (parts_->entry_bytes == sizeof(float))
        count_passes<float>(plan, cost);
    else
        count_passes<double>(plan, cost);
    return cost;
}

AssemblyShape::AssemblyShape(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
AssemblyShape::AssemblyShape(AssemblyShape&&) noexcept = default;
AssemblyShape::~AssemblyShape() = default;

template <class Real>
double product_seconds_per_flop() {
    using Clock = std::chrono::steady_clock;
    constexpr Index depth = arithmetic::slice_depth, tiles = 4;
    const TileContraction<Real>& contraction = multiplied_out<Real>();
    const Segment segment{0, 0, 0, 0, depth, false};
    TileForm form;
    form.rows = tile_rows;
    const Index entries = contraction.entries(segment, form);
    const std::vector<Real> packed(static_cast<std::size_t>(tiles * entries), Real(0.5));
    std::vector<double> to(static_cast<std::size_t>(tile_rows * tile_rows), 0.0);
    const auto start = Clock::now();
    double flops = 0, seconds = 0;
    for (Index t = 0; seconds < 0.1; ++t) {
        contraction.add_product(segment, {packed.data() + t % tiles * entries, &form},
                                {packed.data() + (t + 1) % tiles * entries, &form}, false,
                                TileSums{to.data()});
        flops += 2.0 * static_cast<double>(tile_rows * tile_rows * depth);
        seconds = std::chrono::duration<double>(Clock::now() - start).count();
    }
    return seconds / flops;
}

template double product_seconds_per_flop<float>();
template double product_seconds_per_flop<double>();
template AssemblyShape AssemblyShape::of<float>(const Program&, std::span<const std::int32_t>,
                                                const KernelProblem&);
template AssemblyShape AssemblyShape::of<double>(const Program&, std::span<const std::int32_t>,
                                                 const KernelProblem&);

}  // namespace tangram
