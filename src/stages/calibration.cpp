#include "calibration.hpp"

#include <fmt/core.h>
#include <omp.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tangram/arithmetic.hpp"
#include "tangram/blas.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/model/first_layers.hpp"
#include "tangram/parallel/collective_error.hpp"
#include "tangram/session/clock.hpp"
#include "tangram/session/resources.hpp"

namespace tangram {

namespace {

/// $XDG_CACHE_HOME/tangram/calibration.json, or ~/.cache/...; empty where neither is set.
std::filesystem::path cache_file() {
    if (const char* const cache = std::getenv("XDG_CACHE_HOME"); cache != nullptr && *cache != '\0')
        return std::filesystem::path(cache) / "tangram" / "calibration.json";
    if (const char* const home = std::getenv("HOME"); home != nullptr && *home != '\0')
        return std::filesystem::path(home) / ".cache" / "tangram" / "calibration.json";
    return {};
}

/// A cache is never worth an error: what cannot be read or written is measured again.
nlohmann::json all_calibrations(const std::filesystem::path& file) {
    std::ifstream in(file);
    const nlohmann::json all = nlohmann::json::parse(in, nullptr, false);
    return all.is_object() ? all : nlohmann::json::object();
}

std::string read_calibration(const std::filesystem::path& file, const std::string& key) {
    const nlohmann::json all = all_calibrations(file);
    const auto found = all.find(key);
    if (found == all.end() || !found->is_array() || found->size() != 4) return "";
    for (const auto& number : *found)
        if (!number.is_number() || !(number.get<double>() >= 0)) return "";
    return found->dump();
}

void write_calibration(const std::filesystem::path& file, const std::string& key,
                       const std::vector<double>& numbers) {
    if (file.empty()) return;
    nlohmann::json all = all_calibrations(file);
    all[key] = numbers;
    std::error_code code;
    std::filesystem::create_directories(file.parent_path(), code);
    const std::filesystem::path partial = file.string() + fmt::format(".{}", getpid());
    std::ofstream(partial) << all.dump(1) << "\n";
    std::filesystem::rename(partial, file, code);
}

/// What is timed in place of the whole model: its first layer, on examples that keep every thread busy.
struct Piece {
    Program program;
    DataSet data;
    std::vector<ParameterId> parameters;  // of linear layers
};

/// The first layer of several between the program's tables and head; a program of one layer is its own piece.
Program one_layer(const Program& program) {
    try {
        return first_layers(program, 1);
    } catch (const Error& e) {
        if (e.kind() != ErrorKind::out_of_range) throw;
        return program;
    }
}

/// The same with the logits of label words in place of answers' scores, which are counted apart.
Program with_logits(const Program& program) {
    Program piece = program.without_operations();
    for (const Operation& operation : program.operations())
        if (const auto* const scored = std::get_if<operation::AnswerLikelihood>(&operation))
            piece.append(operation::LabelLogits{scored->in, scored->table, std::nullopt, std::nullopt});
        else
            piece.append(operation);
    return piece;
}

/// The longest examples, a block for every thread, cut so that passes take each thread some tenths of a
/// second.
Piece piece_of(const Program& program, const DataSet& all) {
    constexpr double most_flops = 4e10;  // of a thread
    constexpr Index fewest_tokens = 4;
    Piece piece{one_layer(with_logits(program)), {}, {}};
    for (const Operation& operation : piece.program.operations())
        if (const auto* const linear = std::get_if<operation::Linear>(&operation))
            piece.parameters.push_back(linear->weight);
    std::vector<Index> examples(static_cast<std::size_t>(all.examples()));
    std::iota(examples.begin(), examples.end(), Index{0});
    std::ranges::stable_sort(examples, std::greater{}, [&](Index e) { return all.tokens(e).size(); });
    const Index count = arithmetic::examples_per_block * omp_get_max_threads();
    const double flops_per_token = 3 * forward_flops(piece.program, 1, 1);
    const auto most_tokens = static_cast<std::size_t>(
        std::max<double>(fewest_tokens, most_flops / (flops_per_token * arithmetic::examples_per_block)));
    for (Index i = 0; i < count; ++i) {
        const auto tokens = all.tokens(examples[static_cast<std::size_t>(i) % examples.size()]);
        piece.data.append(tokens.first(std::min(tokens.size(), most_tokens)), 0, i);
    }
    return piece;
}

/// What measuring it takes: one matrix for all, passes, and what they leave; blocks are alike.
template <class Real>
double bytes_of(const Piece& piece) {
    Index largest = 0;
    for (const Parameter& parameter : piece.program.parameters())
        largest = std::max(largest, parameter.size());
    TokenBlock block;
    block.offsets = piece.data.offsets;
    block.reads.assign(piece.data.labels.size(), 0);
    return static_cast<double>(sizeof(Real)) * static_cast<double>(largest) +
           2 * static_cast<double>(planned_pass_bytes<Real>(piece.program, block, 2, piece.parameters));
}

/// The machine, the build and the shapes that were timed.
std::string key_of(const Piece& piece, std::size_t real_bytes, int ranks) {
    std::string key = fmt::format("{} {} {} {} x {}, {} tokens:", host_name(), git_revision(), real_bytes,
                                  ranks, omp_get_max_threads(), piece.data.token_ids.size());
    for (const ParameterId p : piece.parameters) {
        const std::vector<Index>& shape = piece.program.parameters()[p].shape;
        key += fmt::format(" {}x{}", shape[0], shape[1]);
    }
    return key;
}

/// On this rank.
template <class Real>
Calibration measured(const Piece& piece) {
    Calibration result;
    const Index examples = piece.data.examples();
    std::vector<Index> all(static_cast<std::size_t>(examples));
    std::iota(all.begin(), all.end(), Index{0});
    InitialWeights weights;
    weights.placeholder = true;
    Network<Real> network(piece.program, weights, {0, 1});
    auto start = Clock::now();
    const JacobianFactors<Real> factors(network, piece.data, all, KernelOutputs(KernelOutput::margin, 2),
                                        piece.parameters);
    const Index tokens = std::ssize(piece.data.token_ids);
    result.per_pass_flop = seconds_since(start) / (2 * forward_flops(piece.program, tokens, examples));

    start = Clock::now();
    std::vector<Real> gradient;
    double entries = 0;
    for (std::size_t s = 0; s < piece.parameters.size() && seconds_since(start) < 0.2; ++s) {
        const Index size = std::min(piece.program.parameters()[piece.parameters[s]].size(), Index{1} << 20);
        gradient.resize(static_cast<std::size_t>(size));
        for (Index e = 0; e < examples && seconds_since(start) < 0.2; ++e) {
            factors.multiply_out(piece.parameters[s], 0, size, e, 0, gradient.data());
            entries += static_cast<double>(size);
        }
    }
    // These examples are the longest; laying rows side by side takes what multiplying out mean ones saves.
    if (entries > 0) result.per_packed_entry = seconds_since(start) / entries / omp_get_max_threads();

    result.per_product_flop = product_seconds_per_flop<Real>() / omp_get_max_threads();
    constexpr int n = 512;
    const std::vector<double> a(n * n, 0.5);
    std::vector<double> c(a.size());
    start = Clock::now();
    int repeats = 0;
    for (; repeats < 3 || seconds_since(start) < 0.05; ++repeats)
        gemm('N', 'N', n, n, n, a.data(), n, a.data(), n, c.data(), n);
    result.per_float64_flop = seconds_since(start) / (2.0 * n * n * n * repeats);
    return result;
}

}  // namespace

template <class Real>
Calibration calibrated(const Program& program, const GramJob& job, const Session& session) {
    const MPI_Comm comm = session.world.get();
    const Piece piece = collectively(comm, [&] { return piece_of(program, job.data.train); });
    const std::filesystem::path file = cache_file();
    const std::string key = key_of(piece, sizeof(Real), session.world.size());
    std::string stored;
    if (session.world.rank() == 0) stored = read_calibration(file, key);
    broadcast(comm, stored, 0);
    if (!stored.empty()) {
        const auto numbers = nlohmann::json::parse(stored).get<std::vector<double>>();
        return {numbers.at(0), numbers.at(1), numbers.at(2), numbers.at(3)};
    }
    if (any_rank(comm,
                 static_cast<double>(resident_bytes()) + bytes_of<Real>(piece) > session.memory_per_rank))
        return {};
    Calibration result = collectively(comm, [&] { return measured<Real>(piece); });
    for (double* const value : {&result.per_pass_flop, &result.per_packed_entry, &result.per_product_flop,
                                &result.per_float64_flop})
        *value = max_over_ranks(comm, *value);
    if (session.world.rank() == 0)
        write_calibration(file, key,
                          {result.per_pass_flop, result.per_packed_entry, result.per_product_flop,
                           result.per_float64_flop});
    return result;
}

template Calibration calibrated<float>(const Program&, const GramJob&, const Session&);
template Calibration calibrated<double>(const Program&, const GramJob&, const Session&);

}  // namespace tangram
