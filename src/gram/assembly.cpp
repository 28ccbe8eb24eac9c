#include "tangram/gram/assembly.hpp"

#include <fmt/format.h>

#include <omp.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>

#include "packed_tiles.hpp"
#include "tangram/jacobian/factor_bytes.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

constexpr Index tile_stride = arithmetic::tile_rows;  // columns of a tile in the cache

/// Adds the seconds of its life to a total.
class Stopwatch {
  public:
    explicit Stopwatch(double& total) : total_(&total), start_(Clock::now()) {}
    ~Stopwatch() { *total_ += std::chrono::duration<double>(Clock::now() - start_).count(); }
    Stopwatch(const Stopwatch&) = delete;
    Stopwatch& operator=(const Stopwatch&) = delete;

  private:
    using Clock = std::chrono::steady_clock;
    double* total_;
    Clock::time_point start_;
};

/// A tile of a matrix that this rank holds.
struct TilePlace {
    Index row, column;
};

/// A tile of a distributed matrix, copied into one that stays in the cache; store() puts it back.
class CachedTile {
  public:
    double* load(DistributedMatrix& matrix, Index I, Index J) {
        matrix_ = &matrix;
        const Index block = matrix.block();
        rows_ = std::min(block, matrix.rows() - I * block);
        columns_ = std::min(block, matrix.columns() - J * block);
        corner_ = matrix.data() + matrix.row_layout().to_local(I * block) +
                  matrix.column_layout().to_local(J * block) * matrix.lld();
        entries_.resize(static_cast<std::size_t>(tile_stride * tile_stride));
        for (Index c = 0; c < columns_; ++c)
            std::copy_n(corner_ + c * matrix.lld(), rows_, entries_.data() + c * tile_stride);
        return entries_.data();
    }
    void store() const {
        for (Index c = 0; c < columns_; ++c)
            std::copy_n(entries_.data() + c * tile_stride, rows_, corner_ + c * matrix_->lld());
    }

  private:
    DistributedMatrix* matrix_ = nullptr;
    double* corner_ = nullptr;
    Index rows_ = 0, columns_ = 0;
    std::vector<double> entries_;
};

/// matrix(I, J) += left tile I times right tile J for the tiles named, each over all segments of the slice at
/// once; where groups are kept apart, the same for the matrix of each segment's group. `progress` is called
/// between tiles by the first thread.
/// @param symmetric  left and right are the same rows
template <class Real, class Traced, class Progress>
void add_products(const Slice& slice, const KernelInputs<Real>& inputs, const PackedTiles<Real>& left,
                  const PackedTiles<Real>& right, int buffer, const std::vector<TilePlace>& places,
                  bool symmetric, DistributedMatrix& matrix, std::vector<DistributedMatrix>& groups,
                  Traced traced, Progress progress) {
    const std::vector<Parameter>& parameters = inputs.network.program().parameters();
#pragma omp parallel
    {
        static thread_local CachedTile whole, part;
#pragma omp for schedule(dynamic)
        for (std::size_t place = 0; place < places.size(); ++place) {
            const auto [I, J] = places[place];
            const TileForm &a = left.form(buffer, I), &b = right.form(buffer, J);
            TileSums sums{whole.load(matrix, I, J)};
            const Real *left_at = left.tile(buffer, I), *right_at = right.tile(buffer, J);
            const bool diagonal = symmetric && I == J;
            for (std::size_t s = 0; s < slice.segments.size(); ++s) {
                const Segment& segment = slice.segments[s];
                const auto group_of = [&](std::size_t at) {
                    return inputs.group_of[slice.segments[at].selected];
                };
                if (!groups.empty() && (s == 0 || group_of(s) != group_of(s - 1))) {
                    if (s > 0) part.store();
                    sums.group = part.load(groups[group_of(s)], I, J);
                }
                const Index left_entries = left.layout().entries(slice.contraction, segment, a),
                            right_entries = right.layout().entries(slice.contraction, segment, b);
                // Of an asymmetric kernel the signs, which stand behind the plain entries.
                const Real* const signs = right_at + (slice.copies() - 1) * right_entries;
                add_tile_product(slice.contraction, segment, parameters[segment.parameter].shape, left_at, a,
                                 signs, b, diagonal && slice.copies() == 1, sums);
                left_at += slice.copies() * left_entries;
                right_at += slice.copies() * right_entries;
                if (diagonal && segment.ends_parameter) traced(segment.selected, I, a.rows, sums.whole);
            }
            whole.store();
            if (sums.group != nullptr) part.store();
            progress();
        }
    }
}

/// The diagonal of a distributed square matrix, on every rank. Collective.
std::vector<double> diagonal(const DistributedMatrix& matrix) {
    std::vector<double> entries(static_cast<std::size_t>(matrix.rows()), 0.0);
    for (Index j = 0; j < matrix.local_columns(); ++j) {
        const Index global = matrix.global_column(j);
        if (matrix.row_layout().owner(global) == matrix.grid().row())
            entries[static_cast<std::size_t>(global)] =
                matrix.data()[matrix.row_layout().to_local(global) + j * matrix.lld()];
    }
    sum_over_ranks(matrix.grid().comm().get(), entries);
    return entries;
}

/// Both triangles from the tiles that were computed; within a diagonal tile the lower triangle counts.
void complete(DistributedMatrix& gram) {
    const Index tiles = gram.row_layout().blocks();
    mirror_blocks(gram, [&](Index I, Index J) { return is_computed(I, J, tiles); });
    for (Index j = 0; j < gram.local_columns(); ++j) {
        const Index column = gram.global_column(j), tile = column / gram.block();
        if (gram.row_layout().owner(column) != gram.grid().row()) continue;
        const Index end = std::min(gram.rows(), (tile + 1) * gram.block());
        for (Index row = column + 1; row < end; ++row)
            gram.data()[gram.row_layout().to_local(column) +
                        gram.column_layout().to_local(row) * gram.lld()] =
                gram.data()[gram.row_layout().to_local(row) + j * gram.lld()];
    }
}

}  // namespace

bool is_computed(Index tile_row, Index tile_column, Index tiles) {
    // Tiles less than half way around below the diagonal, as on a circle; those just half way around take
    // turns.
    const Index ahead = (tile_row - tile_column + tiles) % tiles;
    if (2 * ahead != tiles) return 2 * ahead < tiles;
    return (tile_row > tile_column) == (std::min(tile_row, tile_column) % 2 == 0);
}

std::vector<Index> kernel_rows(const DataSet& data, const KernelOutputs& outputs) {
    std::vector<Index> offsets{0};
    for (Index e = 0; e < data.examples(); ++e)
        offsets.push_back(offsets.back() + outputs.shape(data.task(e)).rows_per_example);
    return offsets;
}

KernelMatrices empty_matrices(const ProcessGrid& grid, Index train_rows, Index test_rows,
                              std::size_t parameters, std::size_t formulas, std::size_t groups) {
    const Index block = arithmetic::tile_rows_of(train_rows);
    const auto tiles = static_cast<std::size_t>((train_rows + block - 1) / block);
    KernelMatrices matrices;
    for (std::size_t f = 0; f < formulas; ++f) {
        matrices.formulas.push_back({DistributedMatrix(grid, train_rows, train_rows, block), std::nullopt,
                                     std::vector<double>(static_cast<std::size_t>(test_rows), 0.0),
                                     std::vector<double>(parameters * tiles, 0.0)});
        if (test_rows > 0) matrices.formulas.back().cross.emplace(grid, test_rows, train_rows, block);
    }
    for (std::size_t g = 0; g < groups; ++g)
        matrices.formulas.front().groups.emplace_back(grid, train_rows, train_rows, block);
    return matrices;
}

template <class Real>
Sketch KernelInputs<Real>::sketch() const {
    Sketch sketch{sketch_dimension, sketch_seed};
    for (std::size_t p = 0; p < parameters.size(); ++p)
        if (formulas.front().choices[p].chosen == Contraction::sketched)
            sketch.parameters.push_back(parameters[p]);
    std::sort(sketch.parameters.begin(), sketch.parameters.end());
    return sketch;
}

template <class Real>
Index KernelInputs<Real>::columns(std::size_t i) const {
    const Parameter& parameter = network.program().parameters()[parameters[i]];
    return formulas.front().choices[i].chosen == Contraction::sketched
               ? sketch_shape(parameter.shape[0], parameter.shape[1], sketch_dimension).size()
               : parameter.size();
}

template struct KernelInputs<float>;
template struct KernelInputs<double>;

double FormulaMatrices::trace(std::size_t selected) const {
    const Index tiles = gram.row_layout().blocks();
    double sum = 0;
    for (Index t = 0; t < tiles; ++t)
        sum += tile_traces[selected * static_cast<std::size_t>(tiles) + static_cast<std::size_t>(t)];
    return sum;
}

template <class Real>
AssemblyResult assemble(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                        const std::function<bool(const AssemblyProgress&)>& go_on,
                        const std::function<void(const AssemblyProgress&)>& in_pass) {
    const ProcessGrid& grid = matrices.grid();
    const MPI_Comm comm = grid.comm().get();
    const Program& program = inputs.network.program();
    const std::vector<Slice> slices = slices_of(program, inputs.parameters, inputs.formulas,
                                                inputs.outputs.components(), inputs.sketch_dimension);
    const Index units = std::ssize(slices);
    if (matrices.units_done > units)
        throw Error(ExitStatus::output,
                    fmt::format("{} slices are said to be added, there are {}", matrices.units_done, units));
    AssemblyResult result;

    const Index tile_rows = matrices.formulas.front().gram.block();
    PackedTiles<Real> train(inputs, inputs.train, tile_rows, 0, grid, true);
    std::optional<PackedTiles<Real>> test;
    if (inputs.test != nullptr)
        test.emplace(inputs, *inputs.test, tile_rows, train.layout().tiles(), grid, false);
    const Index own_tokens = train.own_tokens() + (test ? test->own_tokens() : 0);
    const Index own_examples = train.own_examples() + (test ? test->own_examples() : 0);

    // A stored sum is whole on every rank; from here on it grows where it is computed.
    const auto computed_here = [&](Index tile) {
        return tile % grid.rows() == grid.row() && tile % grid.columns() == grid.column();
    };
    for (FormulaMatrices& of : matrices.formulas) {
        for (std::size_t i = 0; i < of.tile_traces.size(); ++i)
            if (!computed_here(static_cast<Index>(i) % train.layout().tiles())) of.tile_traces[i] = 0.0;
        for (Index row = 0; test && row < test->layout().count(); ++row)
            if (test->owner(test->layout().tile_of(row)) != grid.comm().rank())
                of.test_diagonal[static_cast<std::size_t>(row)] = 0.0;
    }

    // Groups are the same on every rank: the largest share decides.
    const FactorBytes bytes(program,
                            {max_over_ranks(comm, own_tokens), max_over_ranks(comm, own_examples),
                             inputs.outputs.passes(), static_cast<Index>(sizeof(Real))},
                            inputs.sketch());
    const std::vector<SliceGroup> groups = groups_of(slices, [&](const std::vector<ParameterId>& parameters) {
        return static_cast<double>(bytes.of(parameters)) <= inputs.factor_bytes;
    });
    const auto load = [&](const std::vector<ParameterId>& parameters) {
        const Stopwatch watch(result.jacobian_seconds);
        const double flops = forward_flops(program, own_tokens, own_examples) *
                             static_cast<double>(1 + (parameters.empty() ? 0 : inputs.outputs.passes()));
        Index before = 0;
        const PassProgress progress = [&](Index done, Index) {
            const double part = static_cast<double>(before + done) / static_cast<double>(own_examples);
            if (in_pass)
                in_pass({before + done, own_examples,
                         result.jacobian_flops + result.product_flops + part * flops, result.bytes_received});
        };
        collectively(comm, [&] {
            train.load(parameters, progress);
            before = train.own_examples();
            if (test) test->load(parameters, progress);
        });
        result.jacobian_flops += flops;
        if (result.passes++ > 0) return;
        result.train_outputs = train.outputs();
        if (test) result.test_outputs = test->outputs();
    };

    std::vector<TilePlace> all_places, half_places, cross_places;
    double all_pairs = 0, half_pairs = 0, cross_pairs = 0;  // of rows, in these tiles
    for (Index J = grid.column(); J < train.layout().tiles(); J += grid.columns()) {
        for (Index I = grid.row(); I < train.layout().tiles(); I += grid.rows()) {
            if (I != J && matrices.knows(I) && matrices.knows(J)) continue;
            const auto pairs = static_cast<double>(train.layout().rows(I) * train.layout().rows(J));
            all_places.push_back({I, J});
            all_pairs += pairs;
            if (!is_computed(I, J, train.layout().tiles())) continue;
            half_places.push_back({I, J});
            half_pairs += I == J ? (pairs + static_cast<double>(train.layout().rows(I))) / 2 : pairs;
        }
        for (Index I = grid.row(); test && !matrices.knows(J) && I < test->layout().tiles();
             I += grid.rows()) {
            cross_places.push_back({I, J});
            cross_pairs += static_cast<double>(test->layout().rows(I) * train.layout().rows(J));
        }
    }
    const auto set_trace = [&](FormulaMatrices& of, std::size_t selected, Index tile, Index rows,
                               const double* entries) {
        double trace = 0;
        for (Index r = 0; r < rows; ++r) trace += entries[r + r * tile_stride];
        of.tile_traces[selected * static_cast<std::size_t>(train.layout().tiles()) +
                       static_cast<std::size_t>(tile)] = trace;
    };

    std::array<std::vector<MPI_Request>, 2> requests;
    const auto post = [&](Index u) {
        const Stopwatch watch(result.packing_seconds);
        const int buffer = static_cast<int>(u % 2);
        const Slice& slice = slices[static_cast<std::size_t>(u)];
        std::vector<MPI_Request>& posted = requests[static_cast<std::size_t>(buffer)];
        posted.clear();
        result.bytes_received += static_cast<double>(train.post(slice, buffer, 0, posted));
        if (test) result.bytes_received += static_cast<double>(test->post(slice, buffer, 1, posted));
    };

    // A stop leaves the next slice on its way: it arrives, unused.
    const auto settle = [&] {
        for (std::vector<MPI_Request>& left : requests) {
            TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(left), "number of messages of a slice"), left.data(),
                                    MPI_STATUSES_IGNORE));
            left.clear();
        }
    };

    bool stopped = false;
    if (matrices.units_done == units) load({});
    for (const SliceGroup& group : groups) {
        if (group.last <= matrices.units_done || stopped) continue;
        load(group.parameters);
        post(matrices.units_done);
        while (matrices.units_done < group.last && !stopped) {
            const Index u = matrices.units_done;
            const int buffer = static_cast<int>(u % 2);
            const Slice& slice = slices[static_cast<std::size_t>(u)];
            std::vector<MPI_Request>& arriving = requests[static_cast<std::size_t>(buffer)];
            std::vector<MPI_Request>& next = requests[static_cast<std::size_t>(1 - buffer)];
            {
                const Stopwatch watch(result.waiting_seconds);
                TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(arriving), "number of messages of a slice"),
                                        arriving.data(), MPI_STATUSES_IGNORE));
                arriving.clear();
            }
            if (u + 1 < group.last) post(u + 1);
            {
                const Stopwatch watch(result.product_seconds);
                const auto progress = [&] {
                    if (omp_get_thread_num() != 0 || next.empty()) return;
                    int done = 0;
                    TANGRAM_MPI(MPI_Testall(narrow(std::ssize(next), "number of messages of a slice"),
                                            next.data(), &done, MPI_STATUSES_IGNORE));
                };
                FormulaMatrices& of = matrices.formulas[slice.place];
                const bool symmetric = slice.formula != Formula::asymmetric_signgd;
                result.product_flops +=
                    slice.pair_flops * ((symmetric ? half_pairs : all_pairs) + cross_pairs);
                const auto traced = [&](std::size_t selected, Index tile, Index rows, const double* entries) {
                    set_trace(of, selected, tile, rows, entries);
                };
                add_products(slice, inputs, train, train, buffer, symmetric ? half_places : all_places, true,
                             of.gram, of.groups, traced, progress);
                std::vector<DistributedMatrix> no_groups;
                if (test)
                    add_products(slice, inputs, *test, train, buffer, cross_places, false, *of.cross,
                                 no_groups, traced, progress);
                for (Index t = 0; test && t < test->layout().tiles(); ++t) {
                    if (test->owner(t) != grid.comm().rank()) continue;
                    const Real* at = test->tile(buffer, t);
                    for (const Segment& segment : slice.segments) {
                        const Index entries =
                            test->layout().entries(slice.contraction, segment, test->form(buffer, t));
                        add_squares(slice.contraction, segment, program.parameters()[segment.parameter].shape,
                                    at, at + (slice.copies() - 1) * entries, test->form(buffer, t),
                                    of.test_diagonal.data() + test->layout().first_row(t));
                        at += slice.copies() * entries;
                    }
                }
            }
            ++matrices.units_done;
            try {
                stopped = !go_on({matrices.units_done, units, result.jacobian_flops + result.product_flops,
                                  result.bytes_received});
            } catch (...) {
                settle();
                throw;
            }
        }
        settle();
    }
    for (std::size_t f = 0; f < matrices.formulas.size(); ++f) {
        FormulaMatrices& of = matrices.formulas[f];
        if (matrices.units_done == units) {
            if (inputs.formulas[f].formula != Formula::asymmetric_signgd) complete(of.gram);
            for (DistributedMatrix& group : of.groups) complete(group);
            const std::vector<double> squares = diagonal(of.gram);
            for (std::size_t row = 0; row < squares.size(); ++row)
                if (!std::isfinite(squares[row]))
                    throw Error(
                        ExitStatus::numerical,
                        fmt::format("row {} of the Gram matrix is not finite: the squared gradient exceeds "
                                    "the range of float32; use precision = \"double\"",
                                    row));
        }
        sum_over_ranks(comm, of.test_diagonal);
        sum_over_ranks(comm, of.tile_traces);
        for (std::size_t row = 0; row < of.test_diagonal.size(); ++row)
            if (!std::isfinite(of.test_diagonal[row]))
                throw Error(
                    ExitStatus::numerical,
                    fmt::format("row {} of the test kernel is not finite: the squared gradient exceeds the "
                                "range of float32; use precision = \"double\"",
                                row));
    }
    return result;
}

template AssemblyResult assemble<float>(const KernelInputs<float>&, KernelMatrices&,
                                        const std::function<bool(const AssemblyProgress&)>&,
                                        const std::function<void(const AssemblyProgress&)>&);
template AssemblyResult assemble<double>(const KernelInputs<double>&, KernelMatrices&,
                                         const std::function<bool(const AssemblyProgress&)>&,
                                         const std::function<void(const AssemblyProgress&)>&);

}  // namespace tangram
