#include "tangram/jacobian/contraction.hpp"

#include <algorithm>
#include <limits>
#include <map>

#include "tangram/arithmetic.hpp"
#include "tangram/jacobian/factor_kinds.hpp"
#include "tangram/jacobian/sketch.hpp"
#include "tangram/jacobian/token_blocks.hpp"

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

namespace {

Index vocabulary_blocks(Index vocabulary) {
    return (vocabulary + arithmetic::vocabulary_block - 1) / arithmetic::vocabulary_block;
}

}  // namespace

std::vector<ContractionChoice> choose_contractions(const Program& program,
                                                   const std::vector<ParameterId>& parameters,
                                                   const MeanRows& rows, Index sketch, Formula formula) {
    const auto all = factors_of(program);
    std::vector<ContractionChoice> choices;
    for (const ParameterId p : parameters) {
        constexpr double never = std::numeric_limits<double>::infinity();
        const Parameter& parameter = program.parameters()[p];
        ContractionChoice choice{Contraction::multiply_out, 2.0 * static_cast<double>(parameter.size()),
                                 never, never};
        const std::vector<Factor>& factors = all[p];
        const bool linear = is_linear(factors), vocabulary = is_vocabulary(factors);
        if ((linear || vocabulary) && formula == Formula::sgd) {
            const double tokens =
                program.shape(factors[0].delta).rows == RowSet::tokens ? rows.tokens : rows.reads;
            // Beside the two products: their product and the sums over tokens in float64, as measured. Every
            // block of a vocabulary has them again.
            constexpr double per_pair_of_tokens = 24;
            const Index blocks = vocabulary ? vocabulary_blocks(parameter.shape[0]) : 1;
            choice.in_factors = tokens * tokens *
                                (2.0 * static_cast<double>(parameter.shape[0] + blocks * parameter.shape[1]) +
                                 static_cast<double>(blocks) * per_pair_of_tokens);
        }
        if (!factors.empty() && std::ranges::all_of(factors, &Factor::is_table)) {
            // At most every token matches; blocks of 8 x 8 run at about a third of the speed of large ones.
            constexpr double slower = 3;
            choice.matching = slower * 2.0 * rows.tokens * static_cast<double>(parameter.shape[1]);
        }
        if (choice.in_factors < choice.multiplied_out) choice.chosen = Contraction::factors;
        if (choice.matching < std::min(choice.multiplied_out, choice.in_factors))
            choice.chosen = Contraction::matching_rows;
        if (sketch > 0 && formula == Formula::sgd && linear) {
            const Index numbers = sketch_shape(parameter.shape[0], parameter.shape[1], sketch).size();
            // Exactness is not given away for less than half of the flops.
            if (4 * static_cast<double>(numbers) <= std::min(choice.multiplied_out, choice.in_factors))
                choice.chosen = Contraction::sketched;
        }
        choices.push_back(choice);
    }
    return choices;
}

namespace {

/// The mean of value(example) over the first 256 of every task, tasks weighted by their examples.
template <class Value>
double mean_over_tasks(const DataSet& data, Value value) {
    constexpr Index sampled = 256;
    struct Sample {
        Index examples = 0, sampled = 0;
        double sum = 0;
    };
    std::map<Index, Sample> tasks;
    for (Index e = 0; e < data.examples(); ++e) {
        Sample& of = tasks[data.task(e)];
        ++of.examples;
        if (of.sampled == sampled) continue;
        ++of.sampled;
        of.sum += value(e);
    }
    double mean = 0;
    // The only task's share is 1, and its mean keeps its bits.
    for (const auto& [task, of] : tasks)
        mean += static_cast<double>(of.examples) / static_cast<double>(data.examples()) *
                (of.sum / static_cast<double>(of.sampled));
    return mean;
}

}  // namespace

double mean_tokens(const DataSet& data) {
    return mean_over_tasks(data, [&](Index e) { return static_cast<double>(data.tokens(e).size()); });
}

MeanRows mean_rows(const DataSet& data, const KernelOutputs& outputs) {
    if (!data.scores_answers()) return mean_tokens(data);
    const auto mean = [&](RowSet set) {
        return mean_over_tasks(data, [&](Index e) {
            const Index gradients = outputs.of_one_label(data.task(e)) ? data.sequences(e) : 1;
            double sum = 0;
            for (Index pass = 0; pass < gradients; ++pass)
                sum += static_cast<double>(gradient_rows(data, outputs, set, e, pass));
            return sum / static_cast<double>(gradients);
        });
    };
    return {mean(RowSet::tokens), mean(RowSet::reads)};
}

namespace {

/// Of the products with weight matrices whose input `counts` says yes to.
template <class Counts>
double product_flops(const Program& program, Index tokens, Index reads, Counts counts) {
    double flops = 0;
    for (const Operation& operation : program.operations())
        if (const auto* const linear = std::get_if<operation::Linear>(&operation)) {
            if (counts(linear->in))
                flops +=
                    2.0 * static_cast<double>(program.parameters()[linear->weight].size()) *
                    static_cast<double>(program.shape(linear->out).rows == RowSet::tokens ? tokens : reads);
        } else if (const auto* const head = std::get_if<operation::AnswerLikelihood>(&operation)) {
            if (counts(head->in))
                flops += 2.0 * static_cast<double>(program.parameters()[head->table].size()) *
                         static_cast<double>(reads);
        }
    return flops;
}

}  // namespace

double forward_flops(const Program& program, Index tokens, Index reads) {
    return product_flops(program, tokens, reads, [](Value) { return true; });
}

double pass_flops(const Program& program, const std::vector<ParameterId>& selected, const PassedRows& rows,
                  Index backward_passes) {
    const std::vector<bool> needed = needed_gradients(program, factors_of(program), selected);
    return forward_flops(program, rows.tokens, rows.reads) +
           static_cast<double>(backward_passes) *
               product_flops(program, rows.tokens, rows.reads, [&](Value in) { return needed[in.id]; });
}

double vocabulary_flops(const Program& program, const std::vector<ParameterId>& parameters, Index reads) {
    const auto factors = factors_of(program);
    double flops = 0;
    for (const ParameterId p : parameters)
        if (std::ranges::any_of(factors[p],
                                [](const Factor& f) { return f.kind == Factor::Kind::vocabulary; }))
            flops += 2.0 * static_cast<double>(program.parameters()[p].size()) * static_cast<double>(reads);
    return flops;
}

}  // namespace tangram
