#include "tangram/gram/assembly.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "tangram/arithmetic.hpp"
#include "tangram/blas.hpp"
#include "tangram/parallel/collective_error.hpp"

namespace tangram {

namespace {

constexpr Index tile_rows = arithmetic::tile_rows;

template <class Real>
MPI_Datatype mpi_type();
template <>
MPI_Datatype mpi_type<float>() {
    return MPI_FLOAT;
}
template <>
MPI_Datatype mpi_type<double>() {
    return MPI_DOUBLE;
}

/// One product of exactly tile_rows x tile_rows: product[r + c tile_rows] = <left row r, right row c>.
template <class Real>
void tile_product(const Real* left, const Real* right, Index depth, Real* product) {
    constexpr int n = static_cast<int>(tile_rows);
    const int k = static_cast<int>(depth);
    gemm('T', 'N', n, n, k, left, k, right, k, product, n);
}

/// The slices that are added one after the other: [first, last) of the storage of one selected parameter, and
/// one component of the kernel's output.
struct Unit {
    std::size_t selected;
    Index component, first, last;
    bool ends_parameter;
};

std::vector<Unit> units_of(const Program& program, const std::vector<ParameterId>& parameters,
                           Index components) {
    std::vector<Unit> units;
    for (std::size_t s = 0; s < parameters.size(); ++s) {
        const Index size = program.parameters()[parameters[s]].size();
        for (Index component = 0; component < components; ++component)
            for (Index first = 0; first < size; first += arithmetic::product_depth) {
                const Index last = std::min(size, first + arithmetic::product_depth);
                units.push_back({s, component, first, last, component == components - 1 && last == size});
            }
    }
    return units;
}

/// The row tiles of one data set: which rank multiplies out which, who needs which, and this rank's factors.
template <class Real>
class Rows {
  public:
    /// @param first_owner  the round-robin over ranks goes on from here
    Rows(const KernelInputs<Real>& inputs, const DataSet& data, Index first_owner, const ProcessGrid& grid,
         bool columns_too)
        : row_offsets_(kernel_rows(data, inputs.outputs)),
          components_(inputs.outputs.components()),
          layout_{row_offsets_.back(), tile_rows, 1},
          first_owner_(first_owner),
          grid_(&grid),
          columns_too_(columns_too) {
        std::set<Index> examples;
        for (Index t = 0; t < tiles(); ++t)
            if (owner(t) == grid.comm().rank())
                for (Index row = t * tile_rows; row < end_of(t); ++row) examples.insert(example_of(row));
        Index position = 0;
        for (const Index example : examples) position_[example] = position++;
        factors_.emplace(inputs.network, data, std::vector<Index>(examples.begin(), examples.end()),
                         inputs.outputs, inputs.parameters);
        tile_at_.assign(static_cast<std::size_t>(tiles()), nullptr);
        for (Index t = 0; t < tiles(); ++t)
            if (owner(t) == grid.comm().rank() || needs(t, grid.row(), grid.column())) ++kept_;
        storage_.resize(static_cast<std::size_t>(kept_ * tile_rows * arithmetic::product_depth));
    }

    Index count() const { return layout_.size; }
    Index tiles() const { return layout_.blocks(); }
    Index end_of(Index tile) const { return std::min(count(), (tile + 1) * tile_rows); }
    int owner(Index tile) const { return static_cast<int>((first_owner_ + tile) % grid_->comm().size()); }
    const JacobianFactors<Real>& factors() const { return *factors_; }
    /// tile_rows x depth, row-major, after exchange().
    const Real* tile(Index t) const { return tile_at_[static_cast<std::size_t>(t)]; }

    /// Multiplies out this rank's tiles of the slice and posts their sends and the receives of those needed.
    void exchange(ParameterId parameter, const Unit& unit, int tag, std::vector<MPI_Request>& requests) {
        const Index depth = unit.last - unit.first;
        const int count = narrow(tile_rows * depth, "tile of a Jacobian slice");
        const int me = grid_->comm().rank();
        Real* next = storage_.data();
        for (Index t = 0; t < tiles(); ++t) {
            const bool mine = owner(t) == me;
            if (!mine && !needs(t, grid_->row(), grid_->column())) continue;
            tile_at_[static_cast<std::size_t>(t)] = next;
            if (mine) {
                multiply_out(t, parameter, unit, next);
                for (int p = 0; p < grid_->rows(); ++p)
                    for (int q = 0; q < grid_->columns(); ++q)
                        if (grid_->rank_of(p, q) != me && needs(t, p, q)) {
                            requests.emplace_back();
                            TANGRAM_MPI(MPI_Isend(next, count, mpi_type<Real>(), grid_->rank_of(p, q), tag,
                                                  grid_->comm().get(), &requests.back()));
                        }
            } else {
                requests.emplace_back();
                TANGRAM_MPI(MPI_Irecv(next, count, mpi_type<Real>(), owner(t), tag, grid_->comm().get(),
                                      &requests.back()));
            }
            next += tile_rows * depth;
        }
    }

    /// Adds <row, row> of the slice for this rank's rows, in float64.
    void add_squares(Index depth, std::vector<double>& diagonal) const {
        for (Index t = 0; t < tiles(); ++t) {
            if (owner(t) != grid_->comm().rank()) continue;
            for (Index row = t * tile_rows; row < end_of(t); ++row) {
                const Real* const g = tile(t) + (row - t * tile_rows) * depth;
                double sum = 0;
                for (Index i = 0; i < depth; ++i)
                    sum += static_cast<double>(g[i]) * static_cast<double>(g[i]);
                diagonal[static_cast<std::size_t>(row)] += sum;
            }
        }
    }

    /// examples x C on every rank, from the ranks that hold them. Collective.
    std::vector<double> outputs(Index labels) const {
        std::vector<double> all((row_offsets_.size() - 1) * static_cast<std::size_t>(labels), 0.0);
        const int me = grid_->comm().rank();
        for (const auto& [example, position] : position_)
            if (owner(row_offsets_[static_cast<std::size_t>(example)] / tile_rows) == me)
                std::copy_n(factors_->logits().begin() + position * labels, labels,
                            all.begin() + example * labels);
        sum_over_ranks(grid_->comm().get(), all);
        return all;
    }

  private:
    Index example_of(Index row) const {
        return std::upper_bound(row_offsets_.begin(), row_offsets_.end(), row) - row_offsets_.begin() - 1;
    }
    bool needs(Index tile, int grid_row, int grid_column) const {
        return tile % grid_->rows() == grid_row || (columns_too_ && tile % grid_->columns() == grid_column);
    }
    void multiply_out(Index t, ParameterId parameter, const Unit& unit, Real* out) const {
        const Index depth = unit.last - unit.first;
        for (Index row = t * tile_rows; row < end_of(t); ++row, out += depth) {
            const Index example = example_of(row);
            const Index pass =
                (row - row_offsets_[static_cast<std::size_t>(example)]) * components_ + unit.component;
            factors_->multiply_out(parameter, unit.first, unit.last, position_.at(example), pass, out);
        }
        std::fill(out, out + ((t + 1) * tile_rows - end_of(t)) * depth, Real(0));
    }

    std::vector<Index> row_offsets_;
    Index components_;
    BlockCyclic layout_;
    Index first_owner_;
    const ProcessGrid* grid_;
    bool columns_too_;
    std::map<Index, Index> position_;  // example -> place in factors_
    std::optional<JacobianFactors<Real>> factors_;
    Index kept_ = 0;
    std::vector<Real> storage_;
    std::vector<const Real*> tile_at_;
};

/// matrix(I, J) += left tile I times right tile J, for the tiles of this rank that `computed` names.
template <class Real>
void add_products(const Rows<Real>& left, const Rows<Real>& right, bool (*computed)(Index, Index),
                  Index depth, DistributedMatrix& matrix, std::vector<Real>& product) {
    product.resize(static_cast<std::size_t>(tile_rows * tile_rows));
    const ProcessGrid& grid = matrix.grid();
    for (Index J = grid.column(); J < right.tiles(); J += grid.columns())
        for (Index I = grid.row(); I < left.tiles(); I += grid.rows()) {
            if (!computed(I, J)) continue;
            tile_product(left.tile(I), right.tile(J), depth, product.data());
            const Index rows = left.end_of(I) - I * tile_rows, columns = right.end_of(J) - J * tile_rows;
            double* const corner = matrix.data() + matrix.row_layout().to_local(I * tile_rows) +
                                   matrix.column_layout().to_local(J * tile_rows) * matrix.lld();
            for (Index c = 0; c < columns; ++c) {
                double* const to = corner + c * matrix.lld();
                const Real* const from = product.data() + c * tile_rows;
                for (Index r = 0; r < rows; ++r) to[r] += static_cast<double>(from[r]);
            }
        }
}

bool every_tile(Index, Index) { return true; }

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
    mirror_blocks(gram, is_computed);
    for (Index j = 0; j < gram.local_columns(); ++j) {
        const Index column = gram.global_column(j), tile = column / tile_rows;
        if (gram.row_layout().owner(column) != gram.grid().row()) continue;
        const Index end = std::min(gram.rows(), (tile + 1) * tile_rows);
        for (Index row = column + 1; row < end; ++row)
            gram.data()[gram.row_layout().to_local(column) +
                        gram.column_layout().to_local(row) * gram.lld()] =
                gram.data()[gram.row_layout().to_local(row) + j * gram.lld()];
    }
}

}  // namespace

bool is_computed(Index tile_row, Index tile_column) {
    return tile_row >= tile_column ? (tile_row + tile_column) % 2 == 0 : (tile_row + tile_column) % 2 == 1;
}

std::vector<Index> kernel_rows(const DataSet& data, const KernelOutputs& outputs) {
    std::vector<Index> offsets{0};
    for (Index e = 0; e < data.examples(); ++e)
        offsets.push_back(offsets.back() + outputs.shape(data.task(e)).rows_per_example);
    return offsets;
}

KernelMatrices empty_matrices(const ProcessGrid& grid, Index train_rows, Index test_rows,
                              std::size_t parameters) {
    KernelMatrices matrices{DistributedMatrix(grid, train_rows, train_rows, tile_rows), std::nullopt,
                            std::vector<double>(static_cast<std::size_t>(test_rows), 0.0),
                            std::vector<double>(parameters, 0.0)};
    if (test_rows > 0) matrices.cross.emplace(grid, test_rows, train_rows, tile_rows);
    return matrices;
}

template <class Real>
NetworkOutputs assemble(const KernelInputs<Real>& inputs, KernelMatrices& matrices,
                        const std::function<bool(Index done, Index units)>& go_on) {
    const ProcessGrid& grid = matrices.gram.grid();
    const MPI_Comm comm = grid.comm().get();
    const Program& program = inputs.network.program();
    const Index components = inputs.outputs.components();
    const std::vector<Unit> units = units_of(program, inputs.parameters, components);

    Rows<Real> train = collectively(comm, [&] { return Rows<Real>(inputs, inputs.train, 0, grid, true); });
    std::optional<Rows<Real>> test;
    if (inputs.test != nullptr)
        test.emplace(
            collectively(comm, [&] { return Rows<Real>(inputs, *inputs.test, train.tiles(), grid, false); }));
    NetworkOutputs outputs{train.outputs(inputs.network.labels()), {}};
    if (test) outputs.test = test->outputs(inputs.network.labels());

    // A stored diagonal is whole on every rank; from here on a row is added to where it is multiplied out.
    for (Index row = 0; test && row < test->count(); ++row)
        if (test->owner(row / tile_rows) != grid.comm().rank())
            matrices.test_diagonal[static_cast<std::size_t>(row)] = 0.0;

    std::vector<MPI_Request> requests;
    std::vector<Real> product;
    while (matrices.units_done < std::ssize(units)) {
        const Unit& unit = units[static_cast<std::size_t>(matrices.units_done)];
        const Index depth = unit.last - unit.first;
        const ParameterId parameter = inputs.parameters[unit.selected];
        requests.clear();
        train.exchange(parameter, unit, 0, requests);
        if (test) test->exchange(parameter, unit, 1, requests);
        TANGRAM_MPI(MPI_Waitall(narrow(std::ssize(requests), "number of messages of a slice"),
                                requests.data(), MPI_STATUSES_IGNORE));

        add_products(train, train, is_computed, depth, matrices.gram, product);
        if (test) {
            add_products(*test, train, every_tile, depth, *matrices.cross, product);
            test->add_squares(depth, matrices.test_diagonal);
        }
        if (unit.ends_parameter) {
            double trace = 0;
            for (const double entry : diagonal(matrices.gram)) trace += entry;
            matrices.traces[unit.selected] = trace;
        }
        ++matrices.units_done;
        if (!go_on(matrices.units_done, std::ssize(units))) break;
    }
    if (matrices.units_done == std::ssize(units)) {
        complete(matrices.gram);
        const std::vector<double> squares = diagonal(matrices.gram);
        for (std::size_t row = 0; row < squares.size(); ++row)
            if (!std::isfinite(squares[row]))
                throw Error(
                    ExitStatus::numerical,
                    fmt::format("row {} of the Gram matrix is not finite: the squared gradient exceeds the "
                                "range of float32; use precision = \"double\"",
                                row));
    }
    sum_over_ranks(comm, matrices.test_diagonal);
    return outputs;
}

template NetworkOutputs assemble<float>(const KernelInputs<float>&, KernelMatrices&,
                                        const std::function<bool(Index, Index)>&);
template NetworkOutputs assemble<double>(const KernelInputs<double>&, KernelMatrices&,
                                         const std::function<bool(Index, Index)>&);

template <class Real>
bool tile_product_is_position_independent() {
    constexpr Index depth = arithmetic::product_depth;
    const auto entry = [](Index i) {
        return static_cast<Real>(std::sin(1.0 + 0.37 * static_cast<double>(i)));
    };
    std::vector<Real> equal(static_cast<std::size_t>(tile_rows * depth)), mixed(equal.size()),
        product(static_cast<std::size_t>(tile_rows * tile_rows));
    for (Index i = 0; i < std::ssize(equal); ++i) {
        equal[static_cast<std::size_t>(i)] = entry(i % depth);
        mixed[static_cast<std::size_t>(i)] = entry(i);
    }
    tile_product(equal.data(), equal.data(), depth, product.data());
    if (std::any_of(product.begin(), product.end(), [&](Real x) { return x != product[0]; })) return false;
    tile_product(mixed.data(), mixed.data(), depth, product.data());
    for (Index c = 0; c < tile_rows; ++c)
        for (Index r = c + 1; r < tile_rows; ++r)
            if (product[static_cast<std::size_t>(r + c * tile_rows)] !=
                product[static_cast<std::size_t>(c + r * tile_rows)])
                return false;
    return true;
}

template bool tile_product_is_position_independent<float>();
template bool tile_product_is_position_independent<double>();

}  // namespace tangram
