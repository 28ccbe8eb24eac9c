#include "../src/gram/slices.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "tangram/arithmetic.hpp"
#include "tangram/gram/assembly_cost.hpp"
#include "tangram/gram/product_back_end.hpp"

namespace tangram {
namespace {

/// Linear weights of several sizes and their biases, from nothing to many slices long, behind a table.
Program program_of_shapes() {
    Program program;
    const ParameterId table = program.parameter("table", {3000, 150}, ParameterKind::embedding);
    Value value = program.embedding(table);
    Index width = 150;
    for (const Index out : {7, 1000, 300, 64, 128}) {
        const std::string name = std::to_string(out);
        const ParameterId weight = program.parameter(name, {out, width}, ParameterKind::mlp),
                          bias = program.parameter(name + ".bias", {out}, ParameterKind::mlp);
        value = program.linear(value, weight, bias);
        width = out;
    }
    program.label_logits(program.at_reads(value),
                         program.parameter("head", {3000, width}, ParameterKind::head));
    return program;
}

struct Sliced {
    Program program = program_of_shapes();
    std::vector<ParameterId> parameters;
    std::vector<KernelFormula> formulas;

    explicit Sliced(double tokens) {
        parameters.resize(program.parameters().size());
        std::iota(parameters.begin(), parameters.end(), ParameterId{0});
        for (const Formula formula : {Formula::sgd, Formula::asymmetric_signgd})
            formulas.push_back({formula, choose_contractions(program, parameters, tokens, 0, formula)});
    }
};

TEST(Slices, HoldEveryTensorOnceInOrderAndNoMoreThanTheirDepth) {
    for (const double tokens : {3.0, 12.0, 500.0})
        for (const auto& [rows, components] : {std::pair<Index, Index>{5000, 1}, {5000, 3}, {20, 2}}) {
            const Sliced of(tokens);
            const Slices slices(of.program, of.parameters, of.formulas, {rows, components, 0});
            // By formula: the tensor, component and entry that come next.
            struct Next {
                std::size_t selected = 0;
                Index component = 0, entry = 0;
            };
            std::vector<Next> next(of.formulas.size());
            for (Index u = 0; u < slices.count(); ++u) {
                const Slice slice = slices[u];
                Next& at = next[slice.place];
                EXPECT_EQ(slice.formula, of.formulas[slice.place].formula);
                if (slice.contraction == Contraction::multiply_out) {
                    EXPECT_LE(slice.depth(), slice_depth_of(1000, rows));
                    EXPECT_LE(slice.depth(), std::max(arithmetic::slice_depth, slice_entries / rows));
                    EXPECT_EQ(slice.pair_flops, 2.0 * static_cast<double>(slice.depth()));
                }
                for (const Segment& segment : slice.segments) {
                    ASSERT_EQ(segment.selected, at.selected) << "slice " << u;
                    EXPECT_EQ(segment.component, at.component);
                    EXPECT_EQ(segment.first, at.entry);
                    EXPECT_LT(segment.first, segment.last);
                    const auto& chosen = of.formulas[slice.place].choices[at.selected].chosen;
                    EXPECT_EQ(slice.contraction, chosen);
                    const Parameter& parameter = of.program.parameters()[segment.parameter];
                    const bool matched = chosen == Contraction::matching_rows;
                    const Index size = matched ? parameter.shape[1] : parameter.size();
                    ASSERT_LE(segment.last, size);
                    const bool ends = segment.last == size && at.component == components - 1;
                    EXPECT_EQ(segment.ends_parameter, ends);
                    at.entry = segment.last == size ? 0 : segment.last;
                    if (segment.last == size) at.component = ends ? 0 : at.component + 1;
                    if (ends) ++at.selected;
                }
            }
            for (const Next& at : next) EXPECT_EQ(at.selected, of.parameters.size());
        }
}

TEST(Slices, OfLargerTensorsAreNoMoreRuns) {
    // A plan's time goes with runs.
    const Sliced of(500.0);
    const Slices slices(of.program, of.parameters, of.formulas, {50000, 1, 0});
    EXPECT_GT(slices.count(), 150);
    EXPECT_LE(std::ssize(slices.runs()), 6 * std::ssize(of.parameters));
}

TEST(SliceGroups, HoldAsManyFactorsAsTheLimitAllows) {
    const Sliced of(500.0);
    const Slices slices(of.program, of.parameters, of.formulas, {5000, 1, 0});
    const FactorBytes bytes(of.program, {{100, 1000, 100}, 1, 1, 4});
    const auto whole = static_cast<double>(bytes.of(of.parameters));
    for (const double limit : {2 * whole, whole, whole / 2, whole / 4, 0.0}) {
        const std::vector<SliceGroup> groups = groups_of(slices, bytes, limit);
        Index next = 0;
        for (std::size_t g = 0; g < groups.size(); ++g) {
            EXPECT_EQ(groups[g].first, next);
            EXPECT_LT(groups[g].first, groups[g].last);
            next = groups[g].last;
            EXPECT_EQ(groups[g].bytes, bytes.of(groups[g].parameters));
            for (Index u = groups[g].first; u < groups[g].last; ++u)
                for (const Segment& segment : slices[u].segments)
                    EXPECT_TRUE(std::ranges::binary_search(groups[g].parameters, segment.parameter));
            // A group that takes more than the limit is what one slice needs; the next slice did not fit.
            std::vector<ParameterId> of_first, with_next = groups[g].parameters;
            for (const Segment& segment : slices[groups[g].first].segments)
                of_first.push_back(segment.parameter);
            EXPECT_TRUE(static_cast<double>(groups[g].bytes) <= limit ||
                        groups[g].bytes == bytes.of(of_first));
            if (g + 1 == groups.size()) continue;
            for (const Segment& segment : slices[next].segments) with_next.push_back(segment.parameter);
            EXPECT_GT(static_cast<double>(bytes.of(with_next)), limit);
        }
        EXPECT_EQ(next, slices.count());
        EXPECT_EQ(groups.size() == 1, limit >= whole);
    }
}

/// The definition, slice by slice: what is held is counted anew for each.
std::vector<SliceGroup> naive_groups(const Slices& slices, const FactorBytes& bytes, double limit) {
    std::vector<SliceGroup> groups;
    for (Index u = 0; u < slices.count(); ++u) {
        std::set<ParameterId> alone, together;
        for (const Segment& segment : slices[u].segments) alone.insert(segment.parameter);
        together = alone;
        if (!groups.empty())
            together.insert(groups.back().parameters.begin(), groups.back().parameters.end());
        const auto list = [](const std::set<ParameterId>& set) {
            return std::vector<ParameterId>(set.begin(), set.end());
        };
        const bool joins = !groups.empty() && (together.size() == groups.back().parameters.size() ||
                                               static_cast<double>(bytes.of(list(together))) <= limit);
        if (!joins) groups.push_back({u, u, {}, 0});
        SliceGroup& group = groups.back();
        group.last = u + 1;
        group.parameters = list(joins ? together : alone);
        group.bytes = bytes.of(group.parameters);
    }
    return groups;
}

TEST(SliceGroups, AreThoseOfTheDefinition) {
    for (const double tokens : {3.0, 500.0})
        for (const Index components : {1, 3}) {
            const Sliced of(tokens);
            const Slices slices(of.program, of.parameters, of.formulas, {5000, components, 0});
            const FactorBytes bytes(of.program, {{100, 1000, 100}, components, components, 4});
            const auto whole = static_cast<double>(bytes.of(of.parameters));
            for (const double share : {2.0, 1.0, 0.7, 0.5, 0.3, 0.1, 0.01, 0.0}) {
                SCOPED_TRACE(share);
                const auto found = groups_of(slices, bytes, share * whole),
                           expected = naive_groups(slices, bytes, share * whole);
                ASSERT_EQ(found.size(), expected.size());
                for (std::size_t g = 0; g < found.size(); ++g) {
                    EXPECT_EQ(found[g].first, expected[g].first);
                    EXPECT_EQ(found[g].last, expected[g].last);
                    EXPECT_EQ(found[g].parameters, expected[g].parameters);
                    EXPECT_EQ(found[g].bytes, expected[g].bytes);
                }
            }
        }
}

TEST(SliceGroups, OfThousandsOfTensors) {
    // A chain of equal layers, each of which one slice holds; of each, the input's and the delta's rows are
    // kept: so many bytes a layer, in every group of so many layers.
    constexpr Index layers = 12000, width = 300, tokens = 50;
    Program program;
    Value value = program.embedding(program.parameter("table", {10, width}, ParameterKind::embedding));
    std::vector<ParameterId> chain;
    for (Index layer = 0; layer < layers; ++layer) {
        chain.push_back(program.parameter(std::to_string(layer), {width, width}, ParameterKind::mlp));
        value = program.linear(value, chain.back());
    }
    program.label_logits(program.at_reads(value),
                         program.parameter("head", {10, width}, ParameterKind::head));
    const Slices slices(program, chain,
                        {{Formula::sgd, choose_contractions(program, chain, 2.0, 0, Formula::sgd)}},
                        {5000, 1, 0});
    const FactorBytes bytes(program, {{10, tokens, 10}, 1, 1, 4});
    constexpr Index of_layer = 2 * tokens * width * 4;
    for (const Index held : {1, 7, 5000, 11999, 12000}) {
        const std::vector<SliceGroup> groups =
            groups_of(slices, bytes, static_cast<double>(held * of_layer + of_layer / 2));
        ASSERT_EQ(std::ssize(groups), (layers + held - 1) / held);
        for (std::size_t g = 0; g < groups.size(); ++g) {
            const auto first = chain.begin() + static_cast<Index>(g) * held;
            const std::vector<ParameterId> expected(first, std::min(first + held, chain.end()));
            EXPECT_TRUE(groups[g].parameters == expected) << g;
            EXPECT_EQ(groups[g].bytes, std::ssize(expected) * of_layer);
        }
        EXPECT_EQ(groups.back().last, slices.count());
    }
}

// Slices of 10, 30 and 5 MB beside sums of 100: two of a kind and a tile at least, less the share of lists.
TEST(ABackEnd, TakesOtherSlicesWhereTheyPushNoSumsOut) {
    AssemblyCost cost;
    cost.back_end_slice_bytes = 10e6;
    cost.back_end_factor_bytes = 30e6;
    cost.back_end_match_bytes = 5e6;
    cost.back_end_sum_bytes = 100e6;
    const auto memory = [](double bytes) { return bytes / (1 - back_end_overhead); };
    const auto takes_factors = [&](double bytes) {
        return cost.back_end_takes(Contraction::factors, memory(bytes));
    };
    EXPECT_TRUE(takes_factors(161e6));
    EXPECT_EQ(cost.back_end_slice(memory(161e6)), 30e6);
    EXPECT_FALSE(takes_factors(159e6)) << "all sums stay beside multiplied-out slices alone";
    EXPECT_EQ(cost.back_end_slice(memory(159e6)), 10e6);
    EXPECT_NEAR(cost.back_end_whole(memory(159e6)), memory(120e6), 1);  // of 1e8 bytes
    EXPECT_TRUE(takes_factors(119e6)) << "sums take turns in any case";
    EXPECT_FALSE(takes_factors(60e6)) << "no room for a tile";
    EXPECT_TRUE(cost.back_end_takes(Contraction::matching_rows, memory(21e6)));
    EXPECT_TRUE(cost.back_end_takes(Contraction::multiply_out, 0));
    cost.back_end_factor_bytes = 0;
    EXPECT_FALSE(takes_factors(1e12)) << "there are none";
}

}  // namespace
}  // namespace tangram
