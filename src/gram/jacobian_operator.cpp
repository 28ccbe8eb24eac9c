#include "tangram/gram/jacobian_operator.hpp"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "row_tiles.hpp"
#include "tangram/arithmetic.hpp"
#include "tangram/jacobian/factor_bytes.hpp"
#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/jacobian/held_factors.hpp"
#include "tangram/jacobian/token_blocks.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/parallel/tree_sum.hpp"
#include "tangram/parallel_for.hpp"
#include "tangram/products.hpp"

namespace tangram {

namespace {

/// Rows of a unit of the sums, and parameters of a piece: a unit of a piece in float64 fills a second-level
/// cache, a piece of 100 000 rows 400 MB in float32. The bits follow from both.
constexpr Index unit_rows = arithmetic::tile_rows, piece_depth = 1024;
/// Parameters of a unit in float64 at once: half of a first-level cache for eight rows.
constexpr Index panel = 128;
/// Vectors side by side in the registers, and entries of J that meet them.
constexpr Index wide = 8, high = products::block_columns;

Index padded(Index vectors) { return (vectors + wide - 1) / wide * wide; }

/// Entries [first, last) of the gradient of a parameter in one component, from column `at` of a piece on.
struct Segment {
    std::size_t selected;
    Index component, first, last, at;
};
/// What is multiplied out at once.
struct Piece {
    std::vector<Segment> segments;
    Index depth = 0;
};
/// Pieces [first, last), and the parameters whose factors they need.
struct PieceGroup {
    std::size_t first, last;
    std::vector<ParameterId> parameters;
    Index bytes;
};

/// All parameters, one behind the other, cut into pieces.
std::vector<Piece> pieces_of(const Program& program, const KernelProblem& problem) {
    std::vector<Piece> pieces;
    for (std::size_t s = 0; s < problem.parameters.size(); ++s) {
        const Parameter& parameter = program.parameters()[problem.parameters[s]];
        const Index size =
            problem.formulas.front().choices[s].chosen == Contraction::sketched
                ? sketch_shape(parameter.shape[0], parameter.shape[1], problem.sketch_dimension).size()
                : parameter.size();
        for (Index component = 0; component < problem.outputs.components(); ++component)
            for (Index first = 0; first < size;) {
                if (pieces.empty() || pieces.back().depth == piece_depth) pieces.emplace_back();
                Piece& piece = pieces.back();
                const Index last = std::min(size, first + piece_depth - piece.depth);
                piece.segments.push_back({s, component, first, last, piece.depth});
                piece.depth += last - first;
                first = last;
            }
    }
    return pieces;
}

/// As many consecutive pieces in each group as the problem's bytes of factors allow, at least one.
std::vector<PieceGroup> groups_of(const std::vector<Piece>& pieces, const KernelProblem& problem,
                                  const FactorBytes& bytes) {
    std::vector<PieceGroup> groups;
    FactorBytes::Held held;
    for (std::size_t p = 0; p < pieces.size(); ++p) {
        const auto hold = [&] {
            for (const Segment& segment : pieces[p].segments)
                bytes.add(held, problem.parameters[segment.selected]);
        };
        const std::size_t known = held.parameters.size();
        hold();
        const bool more = held.parameters.size() > known;
        if (groups.empty() || (more && static_cast<double>(held.bytes) > problem.factor_bytes)) {
            groups.push_back({p, p, {}, 0});
            held = {};
            hold();
        }
        groups.back().last = p + 1;
        groups.back().bytes = held.bytes;
        groups.back().parameters.assign(held.parameters.begin(), held.parameters.end());
    }
    return groups;
}

/// The units of a rank: those of its leaves in a TreeSum.
RowRange units_of(int rank, int ranks, Index units) {
    const auto first = [&](int r) { return (r * units + ranks - 1) / ranks; };
    return {first(rank), first(rank + 1)};
}

/// The largest share of any rank, in examples, tokens and reads.
PassedRows most_passed(const KernelProblem& problem, const std::vector<Index>& offsets, int ranks) {
    const Index units = (offsets.back() + unit_rows - 1) / unit_rows;
    std::vector<PassedRows> passed(static_cast<std::size_t>(ranks));
    for (Index e = 0; e < problem.train.examples(); ++e) {
        const Index first = offsets[static_cast<std::size_t>(e)] / unit_rows,
                    last = (offsets[static_cast<std::size_t>(e) + 1] - 1) / unit_rows;
        for (Index unit = first, known = -1; unit <= last; ++unit) {
            const Index rank = unit * ranks / units;  // as units_of() shares them out
            if (rank == known) continue;
            passed[static_cast<std::size_t>(rank)] += problem.train.passed(e);
            known = rank;
        }
    }
    PassedRows most;
    for (const PassedRows& own : passed)
        most = {std::max(most.examples, own.examples), std::max(most.tokens, own.tokens),
                std::max(most.reads, own.reads)};
    return most;
}

FactorBytes factor_bytes_of(const Program& program, const KernelProblem& problem, const PassedRows& rows,
                            Index entry_bytes) {
    return {program,
            {rows, backward_passes(problem.train, problem.outputs), problem.outputs.passes(), entry_bytes},
            problem.sketch()};
}

/// A unit's part of a piece and what it is multiplied with.
template <class Real>
struct UnitOfPiece {
    const Real* rows;  ///< `count` rows, piece_depth entries from one to the next
    Index count, depth;

    /// Columns [first, first + columns) as float64, `panel` entries from row to row; columns behind them and
    /// rows behind the last are anything.
    const double* widened(Index first, Index columns) const {
        static thread_local std::vector<double> entries;
        entries.resize(static_cast<std::size_t>((unit_rows + high) * panel));
        for (Index i = 0; i < count; ++i)
            std::copy_n(rows + i * piece_depth + first, columns, entries.data() + i * panel);
        return entries.data();
    }

    /// Z (depth x width) = rows^T X (count x width): chains over the rows.
    void multiply_transposed(const double* X, Index width, double* Z) const {
        alignas(64) double sums[wide * high];
        for (Index first = 0; first < depth; first += panel) {
            const Index columns = std::min(panel, depth - first);
            const double* const J = widened(first, columns);
            for (Index k = 0; k < columns; k += high)
                for (Index v = 0; v < width; v += wide) {
                    products::block_sums<wide, high, false>(X + v, width, J + k, panel, 1, count, sums);
                    for (Index c = 0; c < std::min(high, columns - k); ++c)
                        std::copy_n(sums + c * wide, wide, Z + (first + k + c) * width + v);
                }
        }
    }

    /// Y (count x width) += rows Z (depth x width): chains over the columns of a panel.
    void add_product(const double* Z, Index width, double* Y) const {
        alignas(64) double sums[wide * high];
        for (Index first = 0; first < depth; first += panel) {
            const Index columns = std::min(panel, depth - first);
            const double* const J = widened(first, columns);
            for (Index i = 0; i < count; i += high)
                for (Index v = 0; v < width; v += wide) {
                    products::block_sums<wide, high, false>(Z + first * width + v, width, J + i * panel, 1,
                                                            panel, columns, sums);
                    for (Index c = 0; c < std::min(high, count - i); ++c)
                        for (Index r = 0; r < wide; ++r) Y[(i + c) * width + v + r] += sums[c * wide + r];
                }
        }
    }
};

}  // namespace

/// This rank's rows of J.
template <class Real>
class JacobianOperator<Real>::Rows {
  public:
    /// Collective in that it is made within collectively().
    Rows(const KernelInputs<Real>& inputs, MPI_Comm comm, int rank, int ranks)
        : inputs_(&inputs),
          comm_(comm),
          tiles_(inputs.network.program(), inputs.network.label_ids(), inputs.train, inputs.outputs,
                 unit_rows),
          own_(units_of(rank, ranks, tiles_.tiles())),
          factors_(inputs.network, inputs.train, inputs.outputs, examples_of(own_)),
          pieces_(pieces_of(inputs.network.program(), inputs)),
          groups_(
              groups_of(pieces_, inputs,
                        factor_bytes_of(inputs.network.program(), inputs,
                                        most_passed(inputs, kernel_rows(inputs.train, inputs.outputs), ranks),
                                        static_cast<Index>(sizeof(Real))))),
          piece_(static_cast<std::size_t>((row_of(own_.last) - row_of(own_.first)) * piece_depth)) {}

    MPI_Comm comm() const { return comm_; }
    Index count() const { return tiles_.count(); }
    Index units() const { return tiles_.tiles(); }
    std::size_t selected() const { return inputs_->parameters.size(); }
    RowRange own_units() const { return own_; }
    RowRange own_rows() const { return {row_of(own_.first), row_of(own_.last)}; }
    Index first_row(Index unit) const { return row_of(unit); }

    /// work(piece) for every piece, multiplied out. Collective.
    template <class Work>
    void for_pieces(Work work) {
        for (std::size_t g = 0; g < groups_.size(); ++g) {
            if (held_ != g) load(g);
            for (std::size_t p = groups_[g].first; p < groups_[g].last; ++p) {
                collectively(comm_, [&] { multiply_out(pieces_[p]); });
                work(pieces_[p]);
            }
        }
    }
    /// A unit of this rank in the piece that was multiplied out.
    UnitOfPiece<Real> unit(const Piece& piece, Index unit) const {
        return {piece_.data() + (row_of(unit) - row_of(own_.first)) * piece_depth,
                row_of(unit + 1) - row_of(unit), piece.depth};
    }

    /// Logits, or scores, of the examples whose first row is this rank's; zero elsewhere. Once factors are
    /// held.
    std::vector<double> own_outputs() const {
        const Index labels = inputs_->outputs.labels();
        std::vector<double> own(static_cast<std::size_t>(inputs_->train.examples() * labels), 0.0);
        const RowRange rows = own_rows();
        for (const Index example : factors_.examples())
            if (const Index first = tiles_.first_row_of(example); first >= rows.first && first < rows.last)
                std::copy_n(factors_.factors().logits().begin() + factors_.place(example) * labels, labels,
                            own.begin() + example * labels);
        return own;
    }

  private:
    Index row_of(Index unit) const { return std::min(tiles_.count(), unit * unit_rows); }
    std::vector<Index> examples_of(RowRange units) const {
        std::vector<Index> examples;
        for (Index row = row_of(units.first); row < row_of(units.last); ++row)
            if (examples.empty() || examples.back() != tiles_.example_of(row))
                examples.push_back(tiles_.example_of(row));
        return examples;
    }
    void load(std::size_t group) {
        held_.reset();
        collectively(comm_, [&] {
            factors_.load({groups_[group].parameters, inputs_->sketch()}, PassProgress());
        });
        held_ = group;
    }
    /// Entries of this rank's rows, or their signs. Local.
    void multiply_out(const Piece& piece) {
        const bool signs = inputs_->formulas.front().formula == Formula::signgd;
        // In a mean over C labels each label's kernel of signs has a share of 1/C.
        const auto one = static_cast<Real>(1.0 / std::sqrt(tiles_.components()));
        const RowRange rows = own_rows();
        constexpr Index at_once = 32;
        parallel_for((rows.size() + at_once - 1) / at_once, [&](Index chunk) {
            const Index begin = rows.first + chunk * at_once, end = std::min(rows.last, begin + at_once);
            for (Index row = begin; row < end; ++row) {
                Real* const out = piece_.data() + (row - rows.first) * piece_depth;
                for (const Segment& segment : piece.segments)
                    factors_.factors().multiply_out(inputs_->parameters[segment.selected], segment.first,
                                                    segment.last, factors_.place(tiles_.example_of(row)),
                                                    tiles_.pass_of(row, segment.component), out + segment.at);
                for (Index k = 0; signs && k < piece.depth; ++k)
                    out[k] = out[k] > 0 ? one : out[k] < 0 ? -one : Real(0);
            }
        });
    }

    const KernelInputs<Real>* inputs_;
    MPI_Comm comm_;
    RowTiles tiles_;  // the units
    RowRange own_;
    HeldFactors<Real> factors_;
    std::vector<Piece> pieces_;
    std::vector<PieceGroup> groups_;
    std::optional<std::size_t> held_;
    std::vector<Real> piece_;  // own rows x piece_depth
};

template <class Real>
JacobianOperator<Real>::JacobianOperator(const KernelInputs<Real>& inputs, MPI_Comm comm) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    own_ = collectively(comm, [&] { return std::make_unique<Rows>(inputs, comm, rank, ranks); });
}

template <class Real>
JacobianOperator<Real>::~JacobianOperator() = default;

template <class Real>
Index JacobianOperator<Real>::rows() const {
    return own_->count();
}

template <class Real>
std::vector<double> JacobianOperator<Real>::product(const std::vector<double>& X, Index vectors) {
    const MPI_Comm comm = own_->comm();
    const Index width = padded(vectors), threads = omp_get_max_threads();
    const RowRange rows = own_->own_rows(), units = own_->own_units();
    std::vector<double> x, y, z, all;
    std::optional<TreeSum> sums;
    collectively(comm, [&] {
        x.assign(static_cast<std::size_t>(rows.size() * width), 0.0);
        y = x;
        z.resize(static_cast<std::size_t>(piece_depth * width));
        all.assign(static_cast<std::size_t>(own_->count() * vectors), 0.0);
        for (Index row = rows.first; row < rows.last; ++row)
            std::copy_n(X.begin() + row * vectors, vectors, x.begin() + (row - rows.first) * width);
        sums.emplace(comm, own_->units(), piece_depth * width);
    });
    const auto at = [&](Index unit) { return (own_->first_row(unit) - rows.first) * width; };
    own_->for_pieces([&](const Piece& piece) {
        collectively(comm, [&] {
            // As many units at a time as there are threads, added in order.
            for (Index first = units.first; first < units.last; first += threads) {
                std::vector<std::vector<double>> made;
                for (Index u = first; u < std::min(units.last, first + threads); ++u)
                    made.push_back(sums->memory());
                parallel_for(std::ssize(made), [&](Index i) {
                    std::vector<double>& leaf = made[static_cast<std::size_t>(i)];
                    std::ranges::fill(leaf, 0.0);
                    own_->unit(piece, first + i)
                        .multiply_transposed(x.data() + at(first + i), width, leaf.data());
                });
                for (std::vector<double>& leaf : made) sums->add(leaf);
            }
        });
        sums->finish(z);
        collectively(comm, [&] {
            parallel_for(units.size(), [&](Index i) {
                const Index unit = units.first + i;
                own_->unit(piece, unit).add_product(z.data(), width, y.data() + at(unit));
            });
        });
    });
    for (Index row = rows.first; row < rows.last; ++row)
        std::copy_n(y.begin() + (row - rows.first) * width, vectors, all.begin() + row * vectors);
    sum_over_ranks(comm, all);  // one rank's number and zeros: exact
    return all;
}

template <class Real>
JacobianSquares JacobianOperator<Real>::squares() {
    const MPI_Comm comm = own_->comm();
    const RowRange units = own_->own_units();
    JacobianSquares found;
    std::vector<double> traces;  // selected x units: each stands on one rank
    collectively(comm, [&] {
        found.diagonal.assign(static_cast<std::size_t>(own_->count()), 0.0);
        traces.assign(own_->selected() * static_cast<std::size_t>(own_->units()), 0.0);
    });
    own_->for_pieces([&](const Piece& piece) {
        collectively(comm, [&] {
            if (found.outputs.empty()) found.outputs = own_->own_outputs();
            parallel_for(units.size(), [&](Index i) {
                const Index unit = units.first + i;
                const UnitOfPiece<Real> of = own_->unit(piece, unit);
                for (const Segment& segment : piece.segments)
                    for (Index r = 0; r < of.count; ++r) {
                        double sum = 0;
                        const Real* const row = of.rows + r * piece_depth + segment.at;
                        for (Index k = 0; k < segment.last - segment.first; ++k)
                            sum += static_cast<double>(row[k]) * static_cast<double>(row[k]);
                        found.diagonal[static_cast<std::size_t>(own_->first_row(unit) + r)] += sum;
                        traces[segment.selected * static_cast<std::size_t>(own_->units()) +
                               static_cast<std::size_t>(unit)] += sum;
                    }
            });
        });
    });
    for (std::vector<double>* const values : {&found.diagonal, &found.outputs, &traces})
        sum_over_ranks(comm, *values);
    collectively(comm, [&] {
        for (std::size_t row = 0; row < found.diagonal.size(); ++row)
            if (!std::isfinite(found.diagonal[row]))
                throw Error(ExitStatus::numerical, ErrorKind::non_finite,
                            fmt::format("row {} of the Gram matrix is not finite: the gradient exceeds the "
                                        "range of the numbers; use kernel.precision = \"double\"",
                                        row));
        for (auto from = traces.begin(); from != traces.end(); from += own_->units())
            found.traces.push_back(std::accumulate(from, from + own_->units(), 0.0));
    });
    return found;
}

template <class Real>
OperatorCost operator_cost(const Program& program, const KernelProblem& problem, int ranks) {
    const std::vector<Index> offsets = kernel_rows(problem.train, problem.outputs);
    const Index rows = offsets.back(), units = (rows + unit_rows - 1) / unit_rows;
    const std::vector<Piece> pieces = pieces_of(program, problem);
    constexpr auto entry_bytes = static_cast<Index>(sizeof(Real));
    const std::vector<PieceGroup> groups =
        groups_of(pieces, problem,
                  factor_bytes_of(program, problem, most_passed(problem, offsets, ranks), entry_bytes));
    OperatorCost cost;
    cost.groups = std::ssize(groups);
    for (const PieceGroup& group : groups)
        cost.factor_bytes = std::max(cost.factor_bytes, static_cast<double>(group.bytes));
    const Index most_rows = std::min(rows, (units + ranks - 1) / ranks * unit_rows);
    cost.piece_bytes = static_cast<double>(most_rows * piece_depth * entry_bytes);
    const PassedRows all = problem.train.passed();
    cost.pass_flops =
        static_cast<double>(cost.groups) *
        pass_flops(program, problem.parameters, all, backward_passes(problem.train, problem.outputs));
    for (const Piece& piece : pieces)
        cost.vector_flops += 4 * static_cast<double>(piece.depth) * static_cast<double>(rows);
    const auto factors = factors_of(program);
    for (const ParameterId p : problem.parameters) {
        if (!is_linear(factors[p])) continue;
        const bool tokens = program.shape(factors[p].front().delta).rows == RowSet::tokens;
        cost.multiply_out_flops += 2 * static_cast<double>(program.parameters()[p].size()) *
                                   static_cast<double>((tokens ? all.tokens : all.reads)) *
                                   static_cast<double>(problem.outputs.passes());
    }
    return cost;
}

template OperatorCost operator_cost<float>(const Program&, const KernelProblem&, int);
template OperatorCost operator_cost<double>(const Program&, const KernelProblem&, int);
template class JacobianOperator<float>;
template class JacobianOperator<double>;

}  // namespace tangram
