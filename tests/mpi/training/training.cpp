#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "mpi/training/problem.hpp"
#include "tangram/files/json.hpp"
#include "tangram/jacobian/jacobian_factors.hpp"
#include "tangram/training/batches.hpp"
#include "tangram/training/linearised_model.hpp"
#include "tangram/training/trained_weights.hpp"

namespace tangram {
namespace {

using testing::all_of;
using testing::Case;
using testing::distance;
using testing::norm;
using testing::Problem;
using testing::test_data;

const Case training_cases[] = {{"neo-odd", KernelOutput::margin, Loss::squared},
                               {"llama-tied", KernelOutput::logits, Loss::squared},
                               {"bert-odd", KernelOutput::margin, Loss::cross_entropy, 23},
                               {"neox-parallel", KernelOutput::logits, Loss::cross_entropy, 23},
                               {"gpt2-odd", KernelOutput::margin, Loss::squared, 23}};

/// Rows of the outputs of all examples, n x rows.
template <class Real>
std::vector<double> outputs_of(Problem<Real>& problem) {
    const std::vector<double> logits = logits_of(problem.network, problem.data, MPI_COMM_WORLD);
    const auto labels = static_cast<std::size_t>(problem.targets.labels),
               per_example = static_cast<std::size_t>(problem.targets.rows());
    std::vector<double> rows(problem.data.labels.size() * per_example);
    for (std::size_t e = 0; e < problem.data.labels.size(); ++e)
        rows_of_logits(problem.targets.output, std::span(logits).subspan(e * labels, labels),
                       std::span(rows).subspan(e * per_example, per_example));
    return rows;
}

/// One step on a batch: weights move while the gradient comes. Collective. @return the loss before it
template <class Real>
double take_step(Problem<Real>& problem, LossGradient<Real>& gradient_of, const std::vector<Index>& batch,
                 Optimizer& optimizer) {
    const double loss = gradient_of(batch, [&](Index first, std::span<const double> gradient) {
        optimizer.move(first, gradient, [&](Index begin, Index end) {
            set_weights(problem.network, problem.parameters, optimizer, begin, end);
        });
    });
    optimizer.end_step();
    return loss;
}

/// Trains the network on batches of the problem's examples. Collective.
template <class Real>
Optimizer trained(Problem<Real>& problem, const OptimizerSettings& settings, Index batch = 0,
                  const std::function<void(double loss, const Optimizer&)>& after = {}) {
    Optimizer optimizer(settings, weights_of(problem.network, problem.parameters));
    LossGradient<Real> gradient_of(problem.network, problem.data, problem.targets, problem.loss,
                                   problem.parameters, MPI_COMM_WORLD);
    Batches batches(problem.data.examples(), batch, 1);
    for (Index s = 0; s < settings.steps; ++s) {
        const double loss = take_step(problem, gradient_of, batches.of_step(s), optimizer);
        if (after) after(loss, optimizer);
    }
    return optimizer;
}

/// J of all rows, multiplied out.
std::vector<std::vector<double>> jacobian_of(Problem<double>& problem) {
    const JacobianFactors<double> factors(problem.network, problem.data, all_of(problem.data),
                                          KernelOutputs(problem.targets.output, problem.network.labels()),
                                          problem.parameters.parameters);
    std::vector<std::vector<double>> J;
    for (Index e = 0; e < problem.data.examples(); ++e)
        for (Index r = 0; r < problem.targets.rows(); ++r) {
            J.emplace_back(static_cast<std::size_t>(problem.parameters.size()));
            for (std::size_t p = 0; p < problem.parameters.parameters.size(); ++p)
                factors.multiply_out(problem.parameters.parameters[p], 0,
                                     problem.parameters.offsets[p + 1] - problem.parameters.offsets[p], e, r,
                                     J.back().data() + problem.parameters.offsets[p]);
        }
    return J;
}

double sign(double x) { return static_cast<double>((x > 0) - (x < 0)); }

/// J J^T, or J sign(J)^T, in rows over the ranks of the grid.
DistributedMatrix kernel_of(Problem<double>& problem, const ProcessGrid& grid, bool signs = false) {
    const auto J = jacobian_of(problem);
    DistributedMatrix G(grid, std::ssize(J), std::ssize(J), 5);
    for (Index i = 0; i < G.local_rows(); ++i)
        for (Index j = 0; j < G.columns(); ++j) {
            const auto &a = J[static_cast<std::size_t>(G.global_row(i))], &b = J[static_cast<std::size_t>(j)];
            double sum = 0;
            for (std::size_t k = 0; k < a.size(); ++k) sum += a[k] * (signs ? sign(b[k]) : b[k]);
            G.data()[i + j * G.lld()] = sum;
        }
    return G;
}

ProcessGrid rows_of_ranks(MPI_Comm comm = MPI_COMM_WORLD) {
    int ranks = 1;
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    return ProcessGrid(comm, ranks, 1);
}

/// A rate at which no step changes the outputs much: a hundredth of what is stable.
double small_rate(const DistributedMatrix& G, const Problem<double>& problem) {
    double trace = 0;
    for (Index i = 0; i < G.local_rows(); ++i) trace += G.data()[i + G.global_row(i) * G.lld()];
    sum_over_ranks(G.grid().comm().get(), std::span(&trace, 1));
    return 0.01 * static_cast<double>(G.rows()) / (curvature(problem.loss, problem.targets) * trace);
}

TEST(Training, StepsAsPyTorchDoes) {
    FilesRead files;
    for (const auto& run : read_json(test_data() / "models" / "training.json", files)) {
        const auto text = [&](const char* key) { return run.at(key).get<std::string>(); };
        SCOPED_TRACE(text("model") + " " + text("optimizer"));
        const auto ids = run.at("label_ids").get<std::vector<std::int32_t>>();
        Problem<double> problem({"neo-odd", KernelOutput::margin, loss_by_name(text("loss"))});
        const auto folder = test_data() / "models" / text("model");
        problem.network = Network<double>(program_of(Config(folder / "config.json", testing::Unrecorded())),
                                          Weights(folder, testing::Unrecorded()), ids);
        problem.parameters =
            ParameterVector(problem.network.program(), select_parameters(problem.network.program(), {"all"}));
        problem.data = DataSet();
        for (const auto& tokens : run.at("ids"))
            problem.data.append(tokens.get<std::vector<std::int32_t>>(), 0, problem.data.examples());
        problem.data.labels = run.at("labels").get<std::vector<std::int32_t>>();
        problem.targets = {kernel_output(text("output"), std::ssize(ids)), std::ssize(ids),
                           run.at("wanted").get<std::vector<double>>(), problem.data.labels};
        const OptimizerSettings settings{rule_by_name(text("optimizer")),
                                         run.at("learning_rate"),
                                         run.at("momentum"),
                                         run.at("weight_decay"),
                                         schedule_by_name(text("schedule")),
                                         run.at("steps")};
        const auto losses = run.at("losses").get<std::vector<double>>(),
                   sums = run.at("sums").get<std::vector<double>>();
        ASSERT_EQ(losses.size(), 20u);
        std::size_t step = 0;
        trained(problem, settings, 0, [&](double loss, const Optimizer& optimizer) {
            double sum = 0;
            for (std::size_t p = 0; p < problem.parameters.parameters.size(); ++p)
                for (Index i = problem.parameters.offsets[p]; i < problem.parameters.offsets[p + 1]; ++i)
                    sum += std::cos(static_cast<double>(i - problem.parameters.offsets[p])) *
                           optimizer.weight(static_cast<std::size_t>(i));
            EXPECT_NEAR(loss, losses[step], 1e-10 * losses[0]) << "step " << step;
            EXPECT_NEAR(sum, sums[step], 1e-10 * std::abs(sums[step]) + 1e-10) << "step " << step;
            ++step;
        });
        EXPECT_EQ(step, 20u);
    }
}

TEST(Training, HasTheSameWeightsOnAnyNumberOfRanks) {
    const Case of{"neo-odd", KernelOutput::logits, Loss::cross_entropy};
    Problem<float> problem(of, 40);
    const OptimizerSettings settings{Rule::adamw, 1e-3, 0, 0.1, Schedule::cosine, 5};
    const std::vector<double> change = trained(problem, settings, 16).change();
    for (const double value : {change.front(), change[change.size() / 2], norm(change)}) {
        const std::vector<double> of_ranks = gather_to_all(MPI_COMM_WORLD, value);
        for (const double other : of_ranks) EXPECT_EQ(other, of_ranks.front());
    }
    // And as one process alone has them.
    Problem<float> alone(of, 40);
    Optimizer optimizer(settings, weights_of(alone.network, alone.parameters));
    LossGradient<float> gradient_of(alone.network, alone.data, alone.targets, alone.loss, alone.parameters,
                                    MPI_COMM_SELF);
    Batches batches(40, 16, 1);
    for (Index s = 0; s < 5; ++s) take_step(alone, gradient_of, batches.of_step(s), optimizer);
    EXPECT_ON_ALL_RANKS(optimizer.change() == change);
}

/// |real - linearised| / |what the real outputs changed by|, and that change.
std::pair<double, double> gap(const Case& of, const OptimizerSettings& settings, Index batch) {
    const ProcessGrid grid = rows_of_ranks();
    Problem<double> problem(of, 12);
    const DistributedMatrix G = kernel_of(problem, grid, settings.rule == Rule::signgd);
    const std::vector<double> initial = outputs_of(problem);
    const LinearisedProblem linear{G, nullptr, problem.targets, problem.loss, initial, {}};
    LinearisedModel model(linear, settings);
    Batches batches(12, batch, 1);
    for (Index step = 0; step < settings.steps; ++step) model.step(batches.of_step(step));
    trained(problem, settings, batch);
    const std::vector<double> real = outputs_of(problem);
    return {distance(real, model.outputs()), distance(real, initial)};
}

TEST(LinearisedModel, IsWhatTrainingTendsToAsTheRateFalls) {
    struct Way {
        OptimizerSettings settings;
        Index batch;
    };
    const Way ways[] = {{{Rule::gd, 1, 0, 0, Schedule::constant, 5}, 0},
                        {{Rule::sgd, 1, 0.9, 0, Schedule::linear, 5}, 4},
                        // Of several steps a sign that turns is no smooth function of the rate.
                        {{Rule::signgd, 1, 0, 0, Schedule::cosine, 1}, 1}};
    for (const Case& of : training_cases)
        for (const auto& [how, batch] : ways) {
            if (how.rule == Rule::signgd && of.output == KernelOutput::logits) continue;
            SCOPED_TRACE(std::string(of.model) + " batch " + std::to_string(batch));
            OptimizerSettings settings = how;
            Problem<double> problem(of, 12);
            settings.learning_rate = how.rule == Rule::signgd
                                         ? 2e-6
                                         : 0.1 * small_rate(kernel_of(problem, rows_of_ranks()), problem);
            double before = 0;
            for (int halving = 0; halving < 4; ++halving) {
                const auto [difference, change] = gap(of, settings, batch);
                EXPECT_GT(change, 100 * difference);
                // The difference is of second order in the rate; what is left of the third is a few per cent.
                if (halving > 0) {
                    EXPECT_NEAR(before / difference, 4.0, 0.2) << halving;
                }
                before = difference;
                settings.learning_rate /= 2;
            }
        }
}

TEST(LinearisedModel, HasTheFirstStepOfTheNetwork) {
    for (const Case& of : training_cases) {
        if (of.loss != Loss::squared) continue;
        SCOPED_TRACE(of.model);
        const ProcessGrid grid = rows_of_ranks();
        Problem<double> problem(of, 12);
        const DistributedMatrix G = kernel_of(problem, grid);
        const std::vector<double> initial = outputs_of(problem);
        // G r / N, by a loop of its own.
        std::vector<double> expected(initial.size(), 0.0);
        for (Index i = 0; i < G.local_rows(); ++i)
            for (Index j = 0; j < G.columns(); ++j)
                expected[static_cast<std::size_t>(G.global_row(i))] +=
                    G.data()[i + j * G.lld()] *
                    (problem.targets.wanted[static_cast<std::size_t>(j)] -
                     initial[static_cast<std::size_t>(j)]) /
                    static_cast<double>(G.rows());
        sum_over_ranks(MPI_COMM_WORLD, expected);
        const double rate = 0.1 * small_rate(G, problem);
        const auto slope = [&](double learning_rate) {
            Problem<double> fresh(of, 12);
            trained(fresh, {.learning_rate = learning_rate, .steps = 1});
            std::vector<double> change = outputs_of(fresh);
            for (std::size_t i = 0; i < change.size(); ++i)
                change[i] = (change[i] - initial[i]) / learning_rate;
            return change;
        };
        // Richardson: what is of first order in the rate cancels.
        const std::vector<double> once = slope(rate), half = slope(rate / 2), quarter = slope(rate / 4);
        std::vector<double> found(once.size());
        for (std::size_t i = 0; i < found.size(); ++i)
            found[i] = (8 * quarter[i] - 6 * half[i] + once[i]) / 3;
        EXPECT_TRUE(distance(found, expected) <= 1e-6 * norm(expected))
            << distance(found, expected) / norm(expected);
        // The linearised model's own first step is it exactly.
        const LinearisedProblem linear{G, nullptr, problem.targets, problem.loss, initial, {}};
        LinearisedModel model(linear, {.learning_rate = rate, .steps = 1});
        model.step(all_of(problem.data));
        std::vector<double> change = model.outputs();
        for (std::size_t i = 0; i < change.size(); ++i) change[i] = (change[i] - initial[i]) / rate;
        EXPECT_TRUE(distance(change, expected) <= 1e-11 * norm(expected))
            << distance(change, expected) / norm(expected);
    }
}

TEST(LinearisedModel, HasTheSameBitsOnAnyNumberOfRanks) {
    for (const Index batch : {0, 2}) {
        Problem<double> problem({"llama-tied", KernelOutput::logits, Loss::cross_entropy}, 30);
        const std::vector<double> initial = outputs_of(problem), test(initial.begin(), initial.begin() + 60);
        const auto outputs = [&](MPI_Comm comm) {
            const ProcessGrid grid = rows_of_ranks(comm);
            const DistributedMatrix G = kernel_of(problem, grid);
            DistributedMatrix cross(grid, 60, 90, 7);
            for (Index i = 0; i < cross.local_rows(); ++i)
                for (Index j = 0; j < 90; ++j)
                    cross.data()[i + j * cross.lld()] =
                        std::sin(static_cast<double>(cross.global_row(i) * 90 + j));
            const LinearisedProblem linear{G, &cross, problem.targets, problem.loss, initial, test};
            LinearisedModel model(linear, {Rule::sgd, 1e-3, 0.5, 0, Schedule::constant, 10});
            Batches batches(30, batch, 7);
            for (Index step = 0; step < 10; ++step) model.step(batches.of_step(step));
            std::vector<double> all = model.outputs();
            const std::vector<double> of_test = model.test_outputs();
            all.insert(all.end(), of_test.begin(), of_test.end());
            return all;
        };
        EXPECT_ON_ALL_RANKS(outputs(MPI_COMM_WORLD) == outputs(MPI_COMM_SELF));
    }
}

TEST(Batches, TakeEveryExampleOnceAnEpochAndFollowFromTheSeed) {
    Batches batches(10, 3, 5), again(10, 3, 5), other(10, 3, 6);
    std::vector<std::vector<Index>> epochs(2), others(2);
    for (Index step = 0; step < 6; ++step) {
        const auto of = batches.of_step(step);
        EXPECT_EQ(of, again.of_step(step));
        EXPECT_EQ(of.size(), 3u);
        auto& epoch = epochs[static_cast<std::size_t>(step / 3)];
        epoch.insert(epoch.end(), of.begin(), of.end());
        const auto& of_other = other.of_step(step);
        auto& other_epoch = others[static_cast<std::size_t>(step / 3)];
        other_epoch.insert(other_epoch.end(), of_other.begin(), of_other.end());
    }
    EXPECT_NE(epochs[0], epochs[1]);
    EXPECT_NE(epochs[0], others[0]);
    for (std::vector<Index> epoch : epochs) {
        std::ranges::sort(epoch);
        EXPECT_EQ(std::ranges::adjacent_find(epoch), epoch.end());
        EXPECT_TRUE(epoch.front() >= 0 && epoch.back() < 10);
    }
    // In any order of steps: a run that goes on in the middle of an epoch.
    Batches late(10, 3, 5);
    EXPECT_EQ(late.of_step(4), batches.of_step(4));
    EXPECT_EQ(Batches(4, 0, 1).of_step(9), (std::vector<Index>{0, 1, 2, 3}));
    testing::expect_error_on_all_ranks([] { Batches(10, 11, 1); }, ExitStatus::study, ErrorKind::too_few,
                                       "finetune.batch = 11");
}

TEST(Loss, CrossEntropyFitsTheLongDoubleFunctions) {
    TrainingTargets margins{KernelOutput::margin, 2, {}, {0, 1}}, logits{KernelOutput::logits, 3, {}, {2}};
    // Four units in the last place: exp, log, their argument's rounding and the sum.
    const auto near = [](double found, long double exact) {
        return std::abs(static_cast<long double>(found) - exact) <= 4 * 0x1p-52L * std::abs(exact);
    };
    for (const double m : {-700.0, -45.0, -30.0, -3.0, -1e-3, 0.0, 1e-3, 3.0, 30.0, 45.0}) {
        double slope = 0;
        const auto exact = static_cast<long double>(m);
        const double loss = loss_of_example(Loss::cross_entropy, margins, 0, {&m, 1}, {&slope, 1});
        EXPECT_TRUE(near(loss, std::max(exact, 0.0L) + std::log1p(std::exp(-std::abs(exact))))) << m;
        EXPECT_TRUE(near(slope, 1 / (1 + std::exp(-exact)))) << m;
        const double other = -m;
        EXPECT_EQ(loss_of_example(Loss::cross_entropy, margins, 1, {&other, 1}, {&slope, 1}), loss) << m;
        const std::vector<double> rows{m, 0, 1};
        std::vector<double> slopes(3);
        const long double sum = std::exp(exact) + 1 + std::exp(1.0L);
        EXPECT_TRUE(near(loss_of_example(Loss::cross_entropy, logits, 0, rows, slopes), std::log(sum) - 1))
            << m;
        EXPECT_TRUE(near(slopes[0], std::exp(exact) / sum)) << m;
    }
}

TEST(Optimizer, OfAGradientThatStaysAdamTakesEqualSteps) {
    // Both corrections of the bias are then exact: a step is rate g / (|g| + epsilon).
    constexpr Index steps = 3000;
    Optimizer optimizer({.rule = Rule::adamw, .learning_rate = 0.5, .steps = steps}, {0, 0});
    for (Index step = 1; step <= steps; ++step) {
        optimizer.move(0, std::vector<double>{3, -0.25});
        optimizer.end_step();
        const double wanted = 0.5 * static_cast<double>(step);
        ASSERT_NEAR(optimizer.change()[0], -wanted / (1 + 1e-8 / 3), 1e-12 * wanted) << step;
        ASSERT_NEAR(optimizer.change()[1], wanted / (1 + 1e-8 / 0.25), 1e-12 * wanted) << step;
    }
    const OptimizerSettings cosine{.learning_rate = 2, .schedule = Schedule::cosine, .steps = 6};
    for (Index step = 0; step <= 6; ++step)
        EXPECT_NEAR(cosine.rate(step), 1 + std::cos(std::numbers::pi * static_cast<double>(step) / 6), 1e-15);
}

TEST(Optimizer, SaysByHowMuchTheWeightsMoved) {
    // |(1.5, 2)| of |(3, 4)|; of weights that begin at zero no share is known.
    Optimizer optimizer({.learning_rate = 0.5}, {3, 4});
    optimizer.move(0, std::vector<double>{3, -4});
    EXPECT_DOUBLE_EQ(optimizer.relative_change(), 0.5);
    EXPECT_TRUE(std::isnan(Optimizer({.learning_rate = 0.5}, {0, 0}).relative_change()));
}

TEST(LinearisedModel, FollowsWhatIsLinearInTheGradientsOfRows) {
    const OptimizerSettings plain{.rule = Rule::sgd, .learning_rate = 1, .momentum = 0.5};
    OptimizerSettings decays = plain;
    decays.weight_decay = 0.1;
    EXPECT_TRUE(LinearisedModel::follows(plain, 8));
    EXPECT_FALSE(LinearisedModel::follows(decays, 8));
    EXPECT_FALSE(LinearisedModel::follows({.rule = Rule::adamw}, 1));
    // The sign of one gradient is a kernel's, that of a sum of two is none's.
    EXPECT_TRUE(LinearisedModel::follows({.rule = Rule::signgd}, 1));
    EXPECT_FALSE(LinearisedModel::follows({.rule = Rule::signgd}, 2));
}

TEST(Optimizer, GoesOnFromAState) {
    const auto gradient = [](const Optimizer& at) {
        std::vector<double> g;
        for (std::size_t i = 0; i < 5; ++i) g.push_back(std::sin(at.weight(i) + static_cast<double>(i)));
        return g;
    };
    for (const Rule rule : {Rule::sgd, Rule::signgd, Rule::adamw}) {
        const OptimizerSettings settings{rule, 0.1, rule == Rule::sgd ? 0.5 : 0, 0.01, Schedule::cosine, 9};
        Optimizer whole(settings, {1, 2, 3, 4, 5}), second(settings, {1, 2, 3, 4, 5});
        for (int step = 0; step < 9; ++step) {
            if (step == 4) second.set_state(whole.state());
            for (Optimizer* const of : {&whole, &second}) {
                if (of == &second && step < 4) continue;
                const std::vector<double> g = gradient(*of);
                // In any pieces.
                of->move(0, std::span(g).first(2));
                of->move(2, std::span(g).subspan(2));
                of->end_step();
            }
        }
        EXPECT_EQ(whole.change(), second.change());
        EXPECT_EQ(second.steps_done(), 9);
        EXPECT_GT(whole.relative_change(), 0);
    }
}

}  // namespace
}  // namespace tangram
