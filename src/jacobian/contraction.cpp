#include "tangram/jacobian/contraction.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/jacobian/sketch.hpp"

namespace tangram {

std::string name(Contraction contraction) {
    switch (contraction) {
        case Contraction::multiply_out:
            return "multiply-out";
        case Contraction::factors:
            return "factors";
        case Contraction::matching_rows:
            return "matching-rows";
        case Contraction::sketched:
            return "sketch";
    }
    return "";
}

std::vector<ContractionChoice> choose_contractions(const Program& program,
                                                   const std::vector<ParameterId>& parameters,
                                                   double mean_tokens, Index sketch, Formula formula) {
    const auto all = factors_of(program);
    std::vector<ContractionChoice> choices;
    for (const ParameterId p : parameters) {
        constexpr double never = std::numeric_limits<double>::infinity();
        const Parameter& parameter = program.parameters()[p];
        ContractionChoice choice{Contraction::multiply_out, 2.0 * static_cast<double>(parameter.size()),
                                 never, never};
        const std::vector<Factor>& factors = all[p];
        const bool linear = is_linear(factors);
        if (linear && formula == Formula::sgd) {
            const double tokens = program.shape(factors[0].delta).rows == RowSet::tokens ? mean_tokens : 1.0;
            // Beside the two products: their product and the sums over tokens in float64, as measured.
            constexpr double per_pair_of_tokens = 24;
            choice.in_factors =
                tokens * tokens *
                (2.0 * static_cast<double>(parameter.shape[0] + parameter.shape[1]) + per_pair_of_tokens);
        }
        if (!factors.empty() && std::ranges::all_of(factors, &Factor::is_table)) {
            // At most every token matches; blocks of 8 x 8 run at about a third of the speed of large ones.
            constexpr double slower = 3;
            choice.matching = slower * 2.0 * mean_tokens * static_cast<double>(parameter.shape[1]);
        }
        if (choice.in_factors < choice.multiplied_out) choice.chosen = Contraction::factors;
        if (choice.matching < std::min(choice.multiplied_out, choice.in_factors))
            choice.chosen = Contraction::matching_rows;
        if (sketch > 0 && formula == Formula::sgd && linear && choice.chosen == Contraction::multiply_out &&
            sketch_shape(parameter.shape[0], parameter.shape[1], sketch).size() < parameter.size())
            choice.chosen = Contraction::sketched;
        choices.push_back(choice);
    }
    return choices;
}

double mean_tokens(const DataSet& data) {
    constexpr Index sampled = 256;
    struct Sample {
        Index examples = 0, sampled = 0, tokens = 0;
    };
    std::map<Index, Sample> tasks;
    for (Index e = 0; e < data.examples(); ++e) {
        Sample& of = tasks[data.task(e)];
        ++of.examples;
        if (of.sampled == sampled) continue;
        ++of.sampled;
        of.tokens += std::ssize(data.tokens(e));
    }
    double mean = 0;
    // The only task's share is 1, and its mean keeps its bits.
    for (const auto& [task, of] : tasks)
        mean += static_cast<double>(of.examples) / static_cast<double>(data.examples()) *
                (static_cast<double>(of.tokens) / static_cast<double>(of.sampled));
    return mean;
}

double forward_flops(const Program& program, Index tokens, Index examples) {
    double flops = 0;
    for (const Operation& operation : program.operations())
        if (const auto* const linear = std::get_if<operation::Linear>(&operation))
            flops +=
                2.0 * static_cast<double>(program.parameters()[linear->weight].size()) *
                static_cast<double>(program.shape(linear->out).rows == RowSet::tokens ? tokens : examples);
    return flops;
}

}  // namespace tangram
