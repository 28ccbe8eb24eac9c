#include "../src/program/model_table.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace tangram {
namespace {

bool has_part(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

RateExponent rate_between(double low, double value, double high) {
    return {"observed", {value, low, high}, ""};
}

/// A model of 100 test examples that errs `more` than the best, 0.01 its standard error.
ModelRow row_behind(const std::string& name, double more, const RateExponent& rate) {
    ModelRow row{name, 60, 100, 1, 0.5 + more, 0.02, 0.8, {}, rate};
    if (more > 0) row.behind_best = PairedComparison{more, 0.01, 0, 0, 1, 100};
    if (more == 0) row.behind_best = {NAN, NAN, 0, 0, NAN};
    return row;
}

TEST(ModelTable, AModelIsBehindTheBestAmongAllPairs) {
    // Student's quantile of 99 degrees: 1.98 of one pair, 2.44 of the three pairs of three models.
    const RateExponent none = unknown_rate("observed", "");
    const std::string two = models_text({row_behind("a", 0, none), row_behind("b", 0.022, none)}),
                      three = models_text({row_behind("a", 0, none), row_behind("b", 0.022, none),
                                           row_behind("c", 0.026, none)});
    EXPECT_TRUE(has_part(two, "less than that of b by more than chance")) << two;
    EXPECT_TRUE(
        has_part(three, "less than that of c by more than chance; that it is less than that of b is not"))
        << three;
}

TEST(ModelTable, ARateIsFastestWhereIntervalsStandApart) {
    for (const double high : {0.45, 0.55}) {
        const std::string text = models_text({row_behind("a", 0, rate_between(0.5, 0.6, 0.7)),
                                              row_behind("b", 0.1, rate_between(0.1, 0.3, high))});
        EXPECT_EQ(has_part(text, "it falls fastest with a"), high < 0.5) << text;
    }
}

/// Three test examples of one table; `right` of each.
TestedRun run_of(const std::string& draw, const std::vector<double>& errors, const std::vector<bool>& right) {
    return {draw, "margin", {4, 7, 9}, {0, 1, 1}, {}, {errors, right}};
}

TEST(ModelTable, AnExampleIsNamedRightlyWhereMostDrawsNameItSo) {
    const auto model = [](const std::string& name, const std::vector<bool>& a, const std::vector<bool>& b,
                          const std::vector<bool>& c, double error) {
        const std::vector<double> errors(3, error);
        return ComparedModel{
            name, {{60, {run_of("1", errors, a), run_of("2", errors, b), run_of("3", errors, c)}}}, {}};
    };
    std::string why;
    const std::vector<ModelRow> rows =
        compare_models({model("a", {true, true, false}, {true, false, false}, {false, true, false}, 0.1),
                        model("b", {false, false, false}, {false, true, false}, {false, false, false}, 0.2)},
                       why);
    ASSERT_EQ(why, "");
    EXPECT_EQ(rows[0].name, "a");
    EXPECT_EQ(rows[0].draws, 3);
    EXPECT_DOUBLE_EQ(rows[0].accuracy, 4 / 9.0);
    EXPECT_DOUBLE_EQ(rows[1].accuracy, 1 / 9.0);
    // The first two, by two draws of three.
    EXPECT_EQ(rows[1].behind_best.gained, 2);
    EXPECT_EQ(rows[1].behind_best.lost, 0);
    EXPECT_NEAR(rows[1].behind_best.error_fall, 0.1, 1e-15);
}

TEST(ModelTable, RowsOfTwoTasksAreTwoExamples) {
    TestedRun one = run_of("1", {1, 2, 3}, {}), other = run_of("1", {2, 3, 4}, {});
    one.rows = other.rows = {4, 4, 9};
    one.tasks = other.tasks = {0, 1, 1};
    std::string why;
    const std::vector<ModelRow> rows =
        compare_models({{"a", {{60, {one}}}, {}}, {"b", {{60, {other}}}, {}}}, why);
    ASSERT_EQ(why, "");
    EXPECT_EQ(rows[0].test_examples, 3);
    EXPECT_DOUBLE_EQ(rows[0].mse, 2);
    other.target = "logits";
    EXPECT_TRUE(compare_models({{"a", {{60, {one}}}, {}}, {"b", {{60, {other}}}, {}}}, why).empty());
    EXPECT_TRUE(has_part(why, "margin and logits")) << why;
}

}  // namespace
}  // namespace tangram
