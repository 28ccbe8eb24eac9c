#include "commands.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <limits>
#include <optional>
#include <set>

#include "tangram/arithmetic.hpp"
#include "tangram/io/input_file.hpp"
#include "tangram/study/stored_study.hpp"

namespace tangram {

namespace {

/// How far two lists of numbers are apart.
struct Distance {
    double largest = 0,
           scale = 0;  ///< of |a - b|, a NaN on one side alone as infinite, and of |a| where finite
    Index differing = 0;

    /// Whether it counts: by more than rtol of the largest entry. That is what rounding leaves alike: small
    /// entries of an eigenvector carry the error of the large ones.
    bool beyond(double rtol) const { return differing > 0 && !(largest <= rtol * scale); }
    void add(double a, double b) {
        if (std::isfinite(a)) scale = std::max(scale, std::abs(a));
        if (a == b || (std::isnan(a) && std::isnan(b))) return;
        ++differing;
        const double distance = std::abs(a - b);
        largest =
            std::max(largest, std::isnan(distance) ? std::numeric_limits<double>::infinity() : distance);
    }
    std::string text() const {
        if (std::isinf(largest))
            return fmt::format("{} entries differ, infinite or no number in one of the files", differing);
        return fmt::format("{} entries differ, by {:.3g} at most; the largest entry is {:.3g}", differing,
                           largest, scale);
    }
};

/// Two output files on the first rank: what differs in what is small, and which matrices are left to compare.
class Comparison {
  public:
    /// The files and their names, for messages.
    Comparison(const Hdf5File& a, const Hdf5File& b, std::filesystem::path name_a,
               std::filesystem::path name_b, double rtol)
        : a_(a), b_(b), name_a_(std::move(name_a)), name_b_(std::move(name_b)), rtol_(rtol) {}

    StudyDifferences study;
    std::vector<std::string> provenance, results;  ///< differences
    std::vector<std::string> matrices;             ///< large ones in both files, of one shape

    void compare_provenance() {
        std::set<std::string> names;
        for (const Hdf5File* file : {&a_, &b_})
            if (file->exists("/provenance"))
                for (const std::string& name : file->attributes("/provenance")) names.insert(name);
        for (const std::string& name : names) {
            if (name == "study") {
                study = study_differences(text_of_study(a_, name_a_), text_of_study(b_, name_b_));
                continue;
            }
            const std::string mine = value(a_, "/provenance", name), theirs = value(b_, "/provenance", name);
            if (mine != theirs) provenance.push_back(fmt::format("{}: {} | {}", name, mine, theirs));
        }
    }

    /// Everything under a path that stands in both files. A group that is linked from many groups would be
    /// met once on every way to it; our own files have fewer groups by far.
    static constexpr Index deepest = 16, most_groups = 2'000;
    void compare_group(const std::string& path) {
        if (std::count(path.begin(), path.end(), '/') > deepest || ++groups_ > most_groups)
            throw Error(ExitStatus::output, ErrorKind::malformed,
                        fmt::format("{}, {}: {}: groups within groups without end; not files of tangram",
                                    name_a_.string(), name_b_.string(), path));
        compare_attributes(path);
        const auto names_a = a_.children(path), names_b = b_.children(path);
        std::set<std::string> names(names_a.begin(), names_a.end());
        names.insert(names_b.begin(), names_b.end());
        for (const std::string& name : names) {
            const std::string child = path == "/" ? path + name : path + "/" + name;
            // A summary says in words what stands beside it, folders of weights are named as the output is.
            if (child == "/provenance" || child == "/warnings" || child.ends_with("/summary") ||
                child == "/tasks/finetune/weights")
                continue;
            if (!a_.exists(child) || !b_.exists(child))
                results.push_back(
                    fmt::format("{}: only in the {} file", child, a_.exists(child) ? "first" : "second"));
            else if (a_.is_group(child) != b_.is_group(child))
                results.push_back(fmt::format("{}: a group in one file, a data set in the other", child));
            else if (a_.is_group(child))
                compare_group(child);
            else
                compare_data_set(child);
        }
    }

  private:
    static std::string text_of_study(const Hdf5File& file, const std::filesystem::path& name) {
        return file.has_attribute("/provenance", "study") ? stored_study(file, name) : "";
    }
    static std::string value(const Hdf5File& file, const std::string& path, const std::string& name) {
        return file.has_attribute(path, name) ? file.attribute_as_text(path, name) : "absent";
    }

    /// Numbers within rtol of each other. @param scale  at least
    bool alike(const std::string& mine, const std::string& theirs, double scale) const {
        Distance distance;
        distance.scale = scale;
        const auto number = [](const std::string& text) {
            char* end = nullptr;
            const double value = std::strtod(text.c_str(), &end);
            return text.empty() || *end != '\0' ? std::nullopt : std::optional(value);
        };
        const std::optional<double> a = number(mine), b = number(theirs);
        if (!(rtol_ > 0) || !a || !b) return false;
        distance.add(*a, *b);
        return !distance.beyond(rtol_);
    }

    void compare_attributes(const std::string& path) {
        const auto names_a = a_.attributes(path), names_b = b_.attributes(path);
        std::set<std::string> names(names_a.begin(), names_a.end());
        names.insert(names_b.begin(), names_b.end());
        for (const std::string& name : names) {
            // Of numbers within rtol the checksums differ.
            const bool not_a_result = name == "inputs" || name == "basis" || name == "seconds" ||
                                      (path == "/finetune" && name == "weights") ||
                                      (rtol_ > 0 && name == checksum_name);
            const bool how = name == "solver" || name == "solver_reason";
            const std::string mine = value(a_, path, name), theirs = value(b_, path, name);
            // Errors of a spectrum are shares of it.
            const bool share =
                path.ends_with("/quality") && (name.ends_with("_max") || name.ends_with("_error"));
            if (!not_a_result && mine != theirs && !alike(mine, theirs, share ? 1 : 0))
                (how ? provenance : results)
                    .push_back(fmt::format("{}@{}: {} | {}", path, name, mine, theirs));
        }
    }

    void compare_data_set(const std::string& path) {
        compare_attributes(path);
        if (a_.content(path) != b_.content(path)) {
            results.push_back(fmt::format("{}: of another type", path));
            return;
        }
        if (a_.content(path) == Content::table) {
            compare_tables(path);
            return;
        }
        const std::vector<Index> shape = a_.shape(path);
        if (shape != b_.shape(path)) {
            results.push_back(fmt::format("{}: shape ({}) | ({})", path, fmt::join(shape, ", "),
                                          fmt::join(b_.shape(path), ", ")));
            return;
        }
        if (a_.content(path) == Content::texts) {
            if (a_.read_texts(path) != b_.read_texts(path)) results.push_back(path + ": other texts");
            return;
        }
        constexpr Index read_whole = 1 << 20;  // entries
        if (shape.size() == 2 && shape[0] * shape[1] > read_whole) {
            matrices.push_back(path);
            return;
        }
        const std::vector<double> mine = a_.read_doubles(path), theirs = b_.read_doubles(path);
        compare_numbers(path, mine, theirs);
    }

    void compare_numbers(const std::string& path, const std::vector<double>& mine,
                         const std::vector<double>& theirs) {
        Distance distance;
        for (std::size_t i = 0; i < mine.size(); ++i) distance.add(mine[i], theirs[i]);
        if (distance.beyond(rtol_)) results.push_back(path + ": " + distance.text());
    }

    void compare_tables(const std::string& path) {
        const auto mine = a_.read_table(path), theirs = b_.read_table(path);
        if (mine.size() != theirs.size()) {
            results.push_back(fmt::format("{}: {} columns | {}", path, mine.size(), theirs.size()));
            return;
        }
        for (std::size_t c = 0; c < mine.size(); ++c) {
            const std::string column = fmt::format("{}, column {}", path, mine[c].name);
            if (mine[c].name != theirs[c].name || mine[c].numbers.size() != theirs[c].numbers.size() ||
                mine[c].texts != theirs[c].texts || mine[c].integers != theirs[c].integers)
                results.push_back(column + ": differs");
            else
                compare_numbers(column, mine[c].numbers, theirs[c].numbers);
        }
    }

    const Hdf5File &a_, &b_;
    std::filesystem::path name_a_, name_b_;
    double rtol_;
    Index groups_ = 0;
};

}  // namespace

bool compare(const std::filesystem::path& first, const std::filesystem::path& second, double rtol,
             const Session& session) {
    const MPI_Comm comm = session.world.get();
    struct Found {
        StudyDifferences study;
        std::vector<std::string> provenance, results, matrices;
    };
    Found found = collectively(comm, [&] {
        if (session.world.rank() != 0) return Found{};
        const Hdf5File a = Hdf5File::open(first, false, ExitStatus::output),
                       b = Hdf5File::open(second, false, ExitStatus::output);
        check_is_output(a, first);
        check_is_output(b, second);
        Comparison comparison(a, b, first, second, rtol);
        comparison.compare_provenance();
        comparison.compare_group("/");
        return Found{comparison.study, comparison.provenance, comparison.results, comparison.matrices};
    });
    const InputFile a(comm, first, ExitStatus::output), b(comm, second, ExitStatus::output);
    const std::vector<std::string> matrices =
        a.read([&](const Hdf5File&) { return found.matrices; });  // known to the first rank alone
    const ProcessGrid grid = ProcessGrid::most_square(comm);
    for (const std::string& path : matrices) {
        const DistributedMatrix mine = a.read_matrix(path, grid, arithmetic::tile_rows, Orientation::as_is),
                                theirs = b.read_matrix(path, grid, arithmetic::tile_rows, Orientation::as_is);
        Distance distance;
        for (std::size_t i = 0; i < mine.local().size(); ++i)
            distance.add(mine.local()[i], theirs.local()[i]);
        distance.differing = sum_over_ranks(comm, distance.differing);
        distance.largest = max_over_ranks(comm, distance.largest);
        distance.scale = max_over_ranks(comm, distance.scale);
        if (distance.beyond(rtol)) found.results.push_back(path + ": " + distance.text());
    }
    const bool different = found.study.results || !found.results.empty();  // on the first rank
    const bool same = !any_rank(comm, different);
    std::string text = fmt::format(
        "{} | {}: {}\n", first.string(), second.string(),
        !same && found.results.empty() ? "different studies, the same results"
        : !same                        ? "different"
        : rtol > 0 ? fmt::format("the same study and the same results, within {:g} of the largest "
                                 "entry of each",
                                 rtol)
                   : "the same study and the same results, to the last bit");
    for (const auto& [title, lines] :
         {std::pair{"study", &found.study.texts}, std::pair{"results", &found.results},
          std::pair{"provenance (does not count)", &found.provenance}}) {
        if (lines->empty()) continue;
        text += std::string(title) + "\n";
        for (const std::string& line : *lines) text += "  " + line + "\n";
    }
    text.pop_back();
    session.log.result(text);
    return same;
}

}  // namespace tangram
