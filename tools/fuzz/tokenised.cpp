#include "../src/study/tokenised.hpp"

#include "input_file.hpp"
#include "tangram/io/hdf5_file.hpp"

using namespace tangram;

/// A data set as a matrix given by hand: two processes' shares of its rows, as read_matrix reads them.
static void read_matrix(const Hdf5File& file, const std::string& path) {
    const std::vector<Index> shape = file.shape(path, 2);
    file.resolution(path);
    if (file.has_attribute(path, checksum_name)) file.integer_attribute(path, checksum_name);
    const Index width = std::min<Index>(shape[0], 64);
    if (shape[1] > (1 << 20) / std::max<Index>(width, 1)) return;
    const BlockCyclic rows(width, 3, 2);
    for (int process = 0; process < 2; ++process) {
        std::vector<double> values(static_cast<std::size_t>(rows.local_size(process) * shape[1]));
        file.read_rows(path, shape[0] - width, rows, process, values.data());
    }
}

/// What a file of somebody else's is asked: its groups, and its data sets of numbers. Not texts of variable
/// length and names of attributes, which tangram reads of its own files alone: libhdf5 1.10.8 leaves its
/// buffers there in torn files.
static void visit(const Hdf5File& file, const std::string& path, int depth, int& left) {
    if (left-- <= 0) return;  // groups that are linked from each other are met on every way
    if (!file.is_group(path)) {
        file.shape(path);
        if (file.content(path) != Content::numbers) return;
        fuzz::read([&] { read_matrix(file, path); });
        file.is_integer(path);
        file.read_doubles(path);
        return;
    }
    if (depth > 0)
        for (const std::string& name : file.children(path))
            fuzz::read([&] { visit(file, (path == "/" ? path : path + "/") + name, depth - 1, left); });
}

/// An HDF5 file: as tokenised examples of a model with label words of one token and of several, with
/// completions, and of a classifier, then all numbers that it holds.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string file = fuzz::file("examples.h5", fuzz::text(data, size));
    struct Asked {
        const char *head, *score, *completion;
    };
    for (const Asked asked : {Asked{"lm", "logit", ""}, Asked{"lm", "log-likelihood", ""},
                              Asked{"lm", "log-likelihood", "text"}, Asked{"classifier", "logit", ""}}) {
        Study study;
        study.model.head = asked.head;
        study.data.score = asked.score;
        study.data.completion = asked.completion;
        fuzz::read([&] {
            FilesRead files;
            const LabelledExamples found = read_tokenised(file, "train", 0, {}, study, files);
            for (Index e = 0; e < found.data.examples(); ++e)
                for (Index s = 0; s < found.data.sequences(e); ++s)
                    if (found.data.passed(e, s).tokens <= 0) std::abort();
        });
    }
    int left = 300;
    return fuzz::read([&] { visit(Hdf5File::open(file, false, ExitStatus::input), "/", 6, left); });
}
