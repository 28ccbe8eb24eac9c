#include "tangram/study/file_contents.hpp"

#include <fnmatch.h>

#include <algorithm>
#include <map>

namespace tangram {

const std::vector<FileContent>& file_contents() {
    static const std::vector<FileContent> all{
        {"/warnings", "every warning of the runs that made the file", "1", {"warning"}},
        {"/provenance",
         "attributes: study, versions, ranks, grid, hosts, seconds, flops and bytes of the run, model_sha256",
         "1",
         {}},
        {"/runs",
         "the runs that were joined, in the order given; finetune_*: of training, test losses of the network "
         "and of the linearised model (linear_) at T and at their best steps, and the gap at T",
         "1",
         {"run"}},

        {"/models",
         "the models of merged runs, paired on the same test examples at the largest common size; "
         "difference: how "
         "much less the best errs",
         "1",
         {"model"}},

        {"/data", "the examples that went in", "1", {}},
        {"/data/label_token_ids",
         "ids of the label words in the vocabulary, task after task; of log-likelihoods the tokens of all "
         "words; of a classifier, whose labels have no words, their numbers 0, 1, ...",
         "1",
         {"label"}},
        {"/data/label_offsets",
         "where the tokens of each label word begin among label_token_ids, and where the last one's end",
         "1",
         {"offset"}},
        {"/data/task_names", "names of the tasks", "1", {"task"}},
        {"/data/task_labels", "number of labels of each task", "1", {"task"}},
        {"/data/*", "examples, in drawn order", "1", {}},
        {"/data/*/token_ids", "ids of the tokens of all examples, one after the other", "1", {"token"}},
        {"/data/*/completion_token_ids",
         "ids of the tokens of all completions, one after the other",
         "1",
         {"completion token"}},
        {"/data/*/completion_offsets",
         "where each example's completion begins, and where the last one's ends",
         "1",
         {"completion offset"}},
        {"/data/*/offsets",
         "where each example's tokens begin, and where the last one's end",
         "1",
         {"offset"}},
        {"/data/*/labels", "label of each example, counted from 0", "1", {"example"}},
        {"/data/*/rows",
         "row of each example in its source, counted from 0, without the header",
         "1",
         {"example"}},
        {"/data/*/tasks", "task of each example, counted from 0", "1", {"example"}},
        {"/data/*/reads", "place among an example's tokens of the one that is read", "1", {"example"}},

        {"/kernel",
         "the empirical neural tangent kernel; attributes: output, precision, formula; of a sketch its size "
         "and error",
         "1",
         {}},
        {"/kernel/groups", "the kernel of each group of parameters; together they are the whole", "1", {}},
        {"/kernel/lora", "the factors A of LoRA that the kernel depends on", "1", {}},
        {"/kernel/lora/*", "factor A of a linear layer, as drawn or loaded", "1", {"rank", "input"}},
        {"/kernel/tensors",
         "the tensors whose gradients count, and each one's share of the trace",
         "1",
         {"tensor"}},
        {"/kernel/task_outputs", "the output that the kernel is of, by task", "1", {"task"}},
        {"/kernel/outputs_train",
         "the outputs of the training examples at the initial weights: logits, or log-likelihoods",
         "1",
         {"training example", "label"}},
        {"/kernel/outputs_test",
         "the outputs of the test examples at the initial weights: logits, or log-likelihoods",
         "1",
         {"test example", "label"}},
        {"/kernel/groups/*", "one group of parameters", "1", {}},
        {"/kernel/groups/*/gram",
         "Gram matrix of the training rows, of this group of parameters",
         "1",
         {"row", "column"}},
        {"/kernel/gram", "Gram matrix G of the training rows", "1", {"row", "column"}},
        {"/kernel/cross", "kernel of the test rows with the training rows", "1", {"test row", "row"}},
        {"/kernel/test_diagonal", "kernel of each test row with itself", "1", {"test row"}},
        {"/kernel/*", "the kernel of another update rule", "1", {}},
        {"/kernel/*/gram", "Gram matrix of the training rows", "1", {"row", "column"}},
        {"/kernel/*/cross", "kernel of the test rows with the training rows", "1", {"test row", "row"}},
        {"/kernel/*/test_diagonal", "kernel of each test row with itself", "1", {"test row"}},

        {"/spectrum",
         "eigenvalues and eigenvectors of the Gram matrix G itself; attribute count: k where they are the k "
         "largest, 0 where they are all",
         "1",
         {}},
        {"/spectrum/quality",
         "attributes: solver, solver_reason; noise_floor and rounding (the most that rounding puts an "
         "eigenvalue "
         "below zero) in the scale of G; residual_max, orthogonality_max, error_bound_max (of any "
         "eigenvalue) in "
         "units of the largest eigenvalue; trace_error, frobenius_error; numbers of eigenvalues: negative "
         "(negative_explained: 1 where rounding explains them), resolved (larger than the bound on their "
         "error); "
         "seconds",
         "1",
         {}},
        {"/spectrum/eigenvalues", "eigenvalues of G, largest first", "1", {"mode"}},
        {"/spectrum/eigenvectors", "row i is the eigenvector of eigenvalue i", "1", {"mode", "row"}},
        {"/spectrum/density", "how the eigenvalues of G are spread, in bins of half a decade", "1", {}},
        {"/spectrum/density/value",
         "geometric middle of each bin, in the scale of G; 0: all that is smaller",
         "1",
         {"bin"}},
        {"/spectrum/density/weight",
         "share of the eigenvalues in the bin: counted, or by stochastic Lanczos quadrature",
         "1",
         {"bin"}},
        {"/spectrum/density/low", "lower end of the 95 % interval of the share", "1", {"bin"}},
        {"/spectrum/density/high", "upper end of the 95 % interval of the share", "1", {"bin"}},
        {"/spectrum/groups", "spectra of groups of parameters", "1", {}},
        {"/spectrum/groups/*", "the spectrum of the sum of the groups that it is named by", "1", {}},
        {"/spectrum/groups/*/quality", "how good it is; noise_floor in the scale of G", "1", {}},
        {"/spectrum/groups/*/eigenvalues", "eigenvalues, largest first", "1", {"mode"}},
        {"/spectrum/groups/*/eigenvectors", "row i is the eigenvector of eigenvalue i", "1", {"mode", "row"}},
        {"/spectrum/*", "the spectrum of another update rule's kernel", "1", {}},
        {"/spectrum/*/quality", "how good it is; noise_floor in the scale of G", "1", {}},
        {"/spectrum/*/eigenvalues", "eigenvalues, largest first", "1", {"mode"}},
        {"/spectrum/*/eigenvectors", "row i is the eigenvector of eigenvalue i", "1", {"mode", "row"}},

        {"/rates", "what the spectrum says of learning; everything speaks of G/n", "1", {}},
        {"/rates/summary", "what was printed, line by line", "1", {"line"}},
        {"/rates/exponents",
         "rates x of an error that falls as n^-x, by where they were read",
         "1",
         {"rate"}},
        {"/rates/source_capacity",
         "the target's power by rank: N constant (rank + onset)^-(1 + tail_exponent) + noise^2; attributes: "
         "source (s), capacity (a), tail_exponent (2as), noise (of the labels' units), constant, onset, "
         "crossover, reason",
         "1",
         {}},
        {"/rates/decay",
         "how the eigenvalues of G/n decay; attributes: selected, noise_floor (scale of G/n), first, last, "
         "window_source (given: rates.window, or chosen), reason (that no law is named), interval_reason (of "
         "bounds _low and _high that are NaN)",
         "1",
         {}},
        {"/rates/decay/polynomial", "fit of constant * rank^-exponent", "1", {}},
        {"/rates/decay/exponential", "fit of constant * exp(-rate * rank^power)", "1", {}},
        {"/rates/decay/finite_rank", "fit of a spectrum that ends", "1", {}},
        {"/rates/decay/sizes", "numbers of training examples of the subsets", "examples", {"sizes"}},
        {"/rates/decay/exponent_by_size",
         "polynomial exponent of each subset's own spectrum, in rates.window where it is given",
         "1",
         {"sizes", "repeat"}},
        {"/rates/stopping",
         "when gradient descent on (1/2N) sum of squares over the N rows should stop; attributes: "
         "critical_radius, stopping_step (_low and _high: of its middle over samples of the kind, or what "
         "eigenvalues that spectrum.count leaves out could make of it), step_size, noise, radius",
         "1",
         {}},
        {"/rates/stopping/step", "step of gradient descent on the squared loss", "steps", {"step"}},
        {"/rates/stopping/eta", "sum of the step sizes so far", "1", {"step"}},
        {"/rates/stopping/step_sizes", "step size of each step; the last one stays", "1", {"number"}},
        {"/rates/stopping/rademacher",
         "local empirical Rademacher complexity at radius 1/sqrt(eta)",
         "1",
         {"step"}},
        {"/rates/stopping/bias2", "squared bias of the fit on the training rows", "1", {"step"}},
        {"/rates/stopping/variance", "variance of the fit on the training rows", "1", {"step"}},
        {"/rates/stopping/bound", "bound of the squared error on the training rows", "1", {"step"}},
        {"/rates/stopping/train_mse", "mean squared error on the training rows", "1", {"step"}},
        {"/rates/stopping/test_mse", "mean squared error on the test rows", "1", {"step"}},
        {"/rates/stopping/test_accuracy", "share of test examples told rightly", "1", {"step"}},
        {"/rates/stopping/test_squared_error",
         "squared error at T of each test example, mean over its outputs",
         "1",
         {"test example"}},
        {"/rates/stopping/test_right",
         "1 where the test example is told rightly at T",
         "1",
         {"test example"}},
        {"/rates/stopping/ridge_train_mse",
         "mean squared error of ridge 1/eta on the training rows",
         "1",
         {"step"}},
        {"/rates/stopping/ridge_test_mse",
         "mean squared error of ridge 1/eta on the test rows",
         "1",
         {"step"}},
        {"/rates/stopping/ridge_test_accuracy",
         "share of test examples that ridge 1/eta tells rightly",
         "1",
         {"step"}},
        {"/rates/stopping/gcv", "generalised cross-validation", "1", {"step"}},
        {"/rates/stopping/residual_mean",
         "mean of the residual that was taken out, by output",
         "1",
         {"output"}},
        {"/rates/stopping/epochs",
         "passes over the examples that T stands for, by batch size",
         "epochs",
         {"batch"}},
        {"/rates/alignment", "labels and residual in the basis of the eigenvectors", "1", {}},
        {"/rates/alignment/labels", "coefficients of the labels", "1", {"rank", "output"}},
        {"/rates/alignment/residual", "coefficients of the residual", "1", {"rank", "output"}},
        {"/rates/alignment/cumulative",
         "share of the residual's squares in the modes so far",
         "1",
         {"rank", "output"}},
        {"/rates/functionals", "functionals of the spectrum", "1", {}},
        {"/rates/functionals/t", "ridge on G/n; of the information gain rho^2 / n", "1", {"t"}},
        {"/rates/functionals/effective_dimension",
         "sum of l / (l + t) over the eigenvalues l of G/n",
         "1",
         {"t"}},
        {"/rates/functionals/information_gain",
         "(1/2) sum of log(1 + n l / rho^2), rho^2 = n t",
         "nats",
         {"t"}},
        {"/rates/learning_curve", "errors by the number of training examples", "1", {}},
        {"/rates/learning_curve/sizes", "numbers of training examples of the subsets", "examples", {"sizes"}},
        {"/rates/learning_curve/orders",
         "the training examples, counted from 1, in each repeat's order: the first n are its subset of n",
         "1",
         {"repeat", "training example"}},
        {"/rates/learning_curve/eta",
         "step sizes added up to each subset's stopping step",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/mse_*",
         "mean squared error at the stopping step (own: by the subset's sigma and R), the best step, of "
         "ridge at "
         "its best and by cross-validation",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/accuracy_*",
         "share told rightly at the stopping step, the best step, by ridge",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/predicted_*",
         "mean squared error as eigenlearning predicts it: of ridge regression at `ridge`, of gradient "
         "descent at "
         "the stopping step",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/gcv", "generalised cross-validation of ridge", "1", {"sizes", "repeat"}},
        {"/rates/learning_curve/ridge",
         "ridge by generalised cross-validation, in the scale of G/n: that of predicted_ridge and "
         "mse_gcv_ridge",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/own_noise",
         "sigma of each subset alone: given, or what its kernel leaves unexplained",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/own_radius",
         "R of each subset alone: given, or the RKHS norm of the fitted part",
         "1",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/*_step",
         "stopping step, that by the subset's own sigma and R, and best step",
         "steps",
         {"sizes", "repeat"}},
        {"/rates/learning_curve/critical_radius", "critical radius of each subset", "1", {"sizes", "repeat"}},

        {"/finetune",
         "the network trained on the examples, beside its linearised model; attributes: optimizer, loss, "
         "center, "
         "learning_rate, steps, stopping_step, best_step, linear_best_step, kernel_alignment, weights; "
         "stopping_step is the step at which training reaches T, inf where it ends before; gap between the "
         "two at that step, or the last, as a share of the outputs' change, cost_of_stopping at T as a share "
         "of what training gained, parting_step from which on the gap is above 0.2",
         "1",
         {}},
        {"/finetune/summary", "what was printed, line by line", "1", {"line"}},
        {"/finetune/path",
         "loss and accuracy of the network and of the linearised model (linear_) at the recorded steps, and "
         "how "
         "far the weights are from their beginning as a share of their norm",
         "1",
         {"record"}},
        {"/finetune/*outputs_train",
         "outputs of the network on the training examples at the recorded steps; linear_: of the linearised "
         "model, of a margin with the sum of both logits as at the beginning",
         "1",
         {"record", "training example", "label"}},
        {"/finetune/*outputs_test",
         "the same on the test examples",
         "1",
         {"record", "test example", "label"}},
        {"/finetune/eigenvalues",
         "eigenvalues of the Gram matrix after training, largest first",
         "1",
         {"mode"}},

        {"/neighbours", "local kernel regression on the nearest training examples", "1", {}},
        {"/neighbours/sizes", "numbers of neighbours", "examples", {"sizes"}},
        {"/neighbours/accuracy", "share of test examples told rightly", "1", {"sizes"}},
        {"/neighbours/mse", "mean squared error on the test rows", "1", {"sizes"}},
        {"/neighbours/effective_dimension", "effective dimension of the local kernels", "1", {"sizes"}},
        {"/neighbours/cosines",
         "cosine with each of the nearest training examples",
         "1",
         {"test example", "neighbour"}},
        {"/neighbours/nearest",
         "the nearest training examples, counted from 1",
         "1",
         {"test example", "neighbour"}},

        {"/tasks", "task vectors and their arithmetic", "1", {}},
        {"/tasks/norms", "norm of each task's vector", "1", {"task"}},
        {"/tasks/cosines", "cosines of the task vectors", "1", {"task", "other task"}},
        {"/tasks/inner", "inner products of the task vectors", "1", {"task", "other task"}},
        {"/tasks/stopping_step", "stopping step of each task alone", "steps", {"task"}},
        {"/tasks/critical_radius", "critical radius of each task alone", "1", {"task"}},
        {"/tasks/noise", "sigma of each task", "1", {"task"}},
        {"/tasks/radius", "RKHS radius of each task's target", "1", {"task"}},
        {"/tasks/examples", "training examples of each task", "examples", {"task"}},
        {"/tasks/arithmetic", "what sums and differences of task vectors do on each task", "1", {"sum"}},
        {"/tasks/finetune",
         "the network trained on each task from the same start, beside its linearised model; a task's vector "
         "is the change of its weights; attributes: optimizer, loss, sentence",
         "1",
         {}},
        {"/tasks/finetune/summary", "what was printed, line by line", "1", {"line"}},
        {"/tasks/finetune/*norms",
         "norm of each task's vector; linear_: of the linearised model's",
         "1",
         {"task"}},
        {"/tasks/finetune/*cosines",
         "cosines of the task vectors; linear_: of the linearised model's",
         "1",
         {"task", "other task"}},
        {"/tasks/finetune/*inner",
         "inner products of the task vectors; linear_: of the linearised model's",
         "1",
         {"task", "other task"}},
        {"/tasks/finetune/learning_rate",
         "learning rate of each task, in the scale of 1/eigenvalue of G/n",
         "1",
         {"task"}},
        {"/tasks/finetune/steps", "training steps of each task", "steps", {"task"}},
        {"/tasks/finetune/weights",
         "the folder of each task's trained weights, beside this file",
         "1",
         {"task"}},
        {"/tasks/finetune/arithmetic",
         "what the network does on each task with sums and differences of the tasks' changes added to its "
         "weights, and what the linearised model does (linear_)",
         "1",
         {"sum"}},
    };
    return all;
}

namespace {

/// Where the coordinates of an axis stand: beside the data set, or anywhere. Others have them in a data set
/// of their name beside them, or have none.
const std::map<std::string, std::string>& scales() {
    static const std::map<std::string, std::string> all{
        {"example", "rows"},
        {"training example", "/data/train/rows"},
        {"row", "/data/train/rows"},
        {"column", "/data/train/rows"},
        {"test example", "/data/test/rows"},
        {"test row", "/data/test/rows"},
        {"label", "/data/label_token_ids"},
        {"task", "/data/task_names"},
        {"other task", "/data/task_names"},
        {"mode", "eigenvalues"},
        {"bin", "value"},
    };
    return all;
}

/// The data set with the coordinates of an axis of another one, of so many entries; "": there is none.
std::string scale_of(const Hdf5File& file, const std::string& path, const std::string& axis, Index entries) {
    const auto found = scales().find(axis);
    const std::string& name = found == scales().end() ? axis : found->second;
    const std::string scale = name.starts_with('/') ? name : path.substr(0, path.rfind('/') + 1) + name;
    const bool fits = scale != path && file.exists(scale) && !file.is_group(scale) &&
                      file.shape(scale) == std::vector{entries};
    return fits ? scale : "";
}

const FileContent* content_of(const std::string& path) {
    for (const FileContent& content : file_contents())
        if (fnmatch(content.path.c_str(), path.c_str(), FNM_PATHNAME) == 0) return &content;
    return nullptr;
}

void describe(Hdf5File& file, const std::string& path, const FileContent& content) {
    file.set_attribute(path, "description", content.description);
    file.set_attribute(path, "units", content.units);
    if (!content.axes.empty()) file.name_axes(path, content.axes);
}

void attach_scales(Hdf5File& file, const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
        const FileContent* const content = content_of(path);
        if (content == nullptr || content->axes.empty()) continue;
        const std::vector<Index> shape = file.shape(path);
        for (std::size_t axis = 0; axis < std::min(shape.size(), content->axes.size()); ++axis) {
            const std::string scale = scale_of(file, path, content->axes[axis], shape[axis]);
            if (!scale.empty()) file.attach_scale(path, axis, scale);
        }
    }
}

void describe_all(Hdf5File& file) {
    const std::vector<std::string> paths = file.paths();
    for (const std::string& path : paths) {
        const FileContent* const content = content_of(path);
        if (content == nullptr) continue;
        if (!file.has_attribute(path, "description")) describe(file, path, *content);
        if (!content->axes.empty()) file.detach_scales(path);
    }
    attach_scales(file, paths);
}

}  // namespace

void complete_file(Hdf5File& file, const Log& log, const std::string& stage,
                   const std::vector<std::string>& anew) {
    TableColumn stages{.name = "stage", .empty_of_texts = true},
        texts{.name = "text", .empty_of_texts = true};
    const auto add = [&](const std::string& of, const std::string& text) {
        stages.texts.push_back(of);
        texts.texts.push_back(text);
    };
    if (file.exists("/warnings")) {
        const std::vector<TableColumn> there = file.read_table("/warnings");
        for (std::size_t w = 0; w < there.front().texts.size(); ++w) {
            const std::string& of = there.front().texts[w];
            if (of != stage && std::ranges::find(anew, of) == anew.end()) add(of, there.back().texts[w]);
        }
    }
    for (const Log::Warning& warning : log.warnings())
        if (warning.stage == stage) add(stage, warning.text);
    file.remove("/warnings");
    file.write_table("/warnings", {stages, texts});
    file.set_attribute("/", "scale", "/spectrum is of the Gram matrix G, /rates of G/n, n its rows");
    file.set_attribute("/", "description",
                       "output of tangram: the kernel of a pretrained network on labelled examples, its "
                       "spectrum, rates and fine-tuning");
    file.set_attribute("/", "units", "1");
    describe_all(file);
}

}  // namespace tangram
