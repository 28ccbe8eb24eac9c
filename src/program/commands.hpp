#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "tangram/io/hdf5_file.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// Eigenvalues and eigenvectors of somebody else's matrix ("F.h5:/path") into a new output file. Collective.
void spectrum_of_matrix(const std::string& matrix, const std::filesystem::path& output, const Study& study,
                        const Session& session);

/// Where somebody else's numbers stand, each "F.h5:/path"; empty: not given.
struct ForeignKernel {
    std::string eigenvalues;  ///< of G, any order; alone, with `samples` and rates.noise
    std::string matrix;       ///< N x N Gram matrix; with labels
    std::string labels;       ///< N or N x o numbers: targets; integers in one column: classes 0 .. C-1
    std::string outputs;      ///< f_0, shaped as the targets; zero where not given
    std::string cross, test_labels, test_outputs;  ///< M x N, and as labels and outputs
    Index samples = 0;                             ///< rows of the kernel that the eigenvalues are of
};

/// Rates of somebody else's eigenvalues or Gram matrix into a new output file; the study gives [rates] and
/// [spectrum]. Collective. @throws Error on every rank: study for what is missing or does not fit together,
/// input for files
void rates_of_kernel(const ForeignKernel& kernel, const std::filesystem::path& output, const Study& study,
                     const Session& session);

/// Joins the finished runs of a scale study: a table of runs and, for runs that differ in size and draw
/// alone, the rates across them, into a new output file. Collective. @throws Error on every rank: study for
/// runs that do not go together, output for files
void merge(const std::filesystem::path& output, const std::vector<std::string>& files,
           const Session& session);

/// Prints what differs between two output files: keys of the study, provenance, results. Collective.
/// @param rtol  numbers count as the same within this share of the largest entry of their data set; 0: to the
///              last bit
/// @return whether studies (their [output] excepted) and results are the same; provenance is printed and does
///         not count, no two runs have the same
bool compare(const std::filesystem::path& first, const std::filesystem::path& second, double rtol,
             const Session& session);

enum class Inspection { summary, full, json };
/// Prints what an output file says: one screen; all that the runs printed with every warning; or attributes,
/// tables and data sets of one dimension as one JSON object. Local; the first rank. @throws Error(output)
void inspect(const std::filesystem::path& file, Inspection how, Log& log);

/// Prints the label words that would do for the study's model and template, one a line behind its id.
/// Collective. @throws Error on every rank as label_words_of
void words(const Study& study, const Session& session);

/// Refuses an HDF5 file that tangram did not write. Local. @throws Error(output)
void check_is_output(const Hdf5File& file, const std::filesystem::path& name);

/// Recomputes the checks of an output file: symmetry, finiteness, trace, residual, orthogonality, order,
/// provenance. Collective. @throws Error(numerical) that names every check that failed; output where the file
/// holds neither a matrix nor a spectrum
void verify(const std::filesystem::path& file, const Session& session);

}  // namespace tangram
