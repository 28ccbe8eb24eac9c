#include "../src/model/step.hpp"

#include <gtest/gtest.h>

#include <cmath>

namespace tangram {
namespace {

using operations::Mode;

/// Two inputs and an output of two rows of three columns, and one value more; gradients are NaN before.
class Steps : public ::testing::Test {
  protected:
    Steps() : values_(4), gradients_(4) {
        for (std::size_t v = 0; v < 4; ++v) {
            values_[v].width = gradients_[v].rows.width = 3;
            values_[v].reserve(2);
            gradients_[v].rows.reserve(2);
            std::fill_n(gradients_[v].rows.row(0), 6, NAN);
            gradients_[v].needed = true;
        }
    }
    BackwardStep<double> step() { return {declared_, values_, gradients_}; }

    DeclaredValues declared_{{{0}, {1}}, Value{2}};
    std::vector<Rows<double>> values_;
    std::vector<Gradient<double>> gradients_;
};

TEST_F(Steps, ReachTheValuesThatAreDeclaredAndNoOthers) {
    const ForwardStep<double> forward(declared_, values_);
    EXPECT_EQ(&forward.in({0}), &values_[0]);
    EXPECT_EQ(&forward.in({1}), &values_[1]);
    EXPECT_EQ(&forward.out(), &values_[2]);
    EXPECT_THROW(forward.in({2}), std::logic_error);
    EXPECT_THROW(forward.in({3}), std::logic_error);
    EXPECT_THROW(step().in({3}), std::logic_error);
    EXPECT_THROW(step().gradient({3}), std::logic_error);
    declared_.output.reset();
    EXPECT_THROW(forward.out(), std::logic_error);
    EXPECT_THROW(step().slope(), std::logic_error);
}

TEST_F(Steps, MustWriteEveryGradientThatIsNeeded) {
    BackwardStep<double> forgetful = step();
    forgetful.gradient({0});
    EXPECT_THROW(forgetful.finish(), std::logic_error);
    forgetful.gradient({1});
    forgetful.finish();
    gradients_[1].needed = false;
    BackwardStep<double> sparing = step();
    sparing.gradient({0});
    sparing.finish();
}

TEST_F(Steps, WriteAGradientFirstAndAddAfterwards) {
    gradients_[1].needed = false;
    BackwardStep<double> first = step();
    EXPECT_EQ(first.gradient({0}).mode, Mode::assign);
    EXPECT_EQ(first.gradient({1}).mode, Mode::skip);
    EXPECT_THROW(first.gradient({0}), std::logic_error);
    EXPECT_EQ(step().gradient({0}).mode, Mode::add);
    // An operation that reads a value twice writes its gradient twice.
    declared_.inputs = {{3}, {3}};
    BackwardStep<double> twice = step();
    EXPECT_EQ(twice.gradient({3}).mode, Mode::assign);
    EXPECT_THROW(twice.finish(), std::logic_error);
    EXPECT_EQ(twice.gradient({3}).mode, Mode::add);
    twice.finish();
}

TEST_F(Steps, FindZeroWhereNothingWasWritten) {
    EXPECT_TRUE(step().reached());
    for (Index i = 0; i < 6; ++i) EXPECT_EQ(step().slope().row(0)[i], 0.0);
    gradients_[2].written = true;
    gradients_[2].rows.row(0)[4] = 5.0;
    EXPECT_TRUE(step().reached());
    EXPECT_EQ(step().slope().row(1)[1], 5.0);
    gradients_[2].needed = false;
    EXPECT_FALSE(step().reached());
    // Of some entries: the others are zero, and all are added to.
    const GradientRows<double> some = step().gradient_of_some({0});
    EXPECT_EQ(some.mode, Mode::add);
    for (Index i = 0; i < 6; ++i) EXPECT_EQ(some.row(0)[i], 0.0);
    some.row(1)[0] = 2.0;
    EXPECT_EQ(step().gradient_of_some({0}).row(1)[0], 2.0);
}

}  // namespace
}  // namespace tangram
