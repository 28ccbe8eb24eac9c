#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tangram/files/files_read.hpp"
#include "tangram/model/initial_weights.hpp"
#include "tangram/model/lora.hpp"
#include "tangram/model/program.hpp"
#include "tangram/session/session.hpp"
#include "tangram/study/configuration.hpp"

namespace tangram {

/// A model folder that was opened: nothing in it depends on the data. Equal on every rank.
struct OpenedModel {
    Program program;                 ///< a classifier's head has one label as yet
    std::optional<Weights> weights;  ///< nothing where all are drawn
    std::optional<Weights> adapter;  ///< as model.adapter says
    std::optional<AdapterSettings> adapter_settings;
    std::vector<std::string> label_names;     ///< of a trained head, in the order of its outputs
    std::optional<std::int32_t> passed_over;  ///< a token that a trained head is not read at
    double deviation = 0.02;                  ///< initializer_range
    FilesRead files;                          ///< all that was read in the folder
};

/// Opens the folder and composes the program; weights are mapped, not read. Warns of keys and tensors that
/// nothing reads, says whether an adapter is applied. Collective.
/// @throws Error on every rank: input for files, contradiction where ranks see different ones, study for keys
///         that do not fit the model
OpenedModel open_model(const Study& study, const Session& session);

/// The study's model with its head and LoRA factors, and the parameters that the kernel is about. Equal on
/// every rank.
struct LoadedModel : OpenedModel {
    std::vector<ParameterId> parameters;  ///< kernel.parameters, or their LoRA factors
    std::string sha256;                   ///< of the files of weights, once hash_weights() has read them

    InitialWeights initial(const Study& study) const;
};

/// Gives a classifier as many labels as the data have, selects the kernel's parameters and adds LoRA factors.
/// Collective.
/// @throws Error(study) on every rank for keys that do not fit the model
LoadedModel complete_model(OpenedModel opened, const Study& study, Index labels, const Session& session);

/// Sets sha256, which stays empty where there are no files of weights, and all hashes of `files`. Of the
/// ranks of a host that see the same file one reads it. Collective.
/// @throws Error(input) on every rank: contradiction where ranks see different files, changed where one was
///         written since it was opened
void hash_weights(LoadedModel& model, MPI_Comm comm);

/// Bytes of a network's weights once it is made.
struct WeightBytes {
    double own = 0;     ///< of a rank: vectors, LoRA factors, and the matrix that it computes for the others
    double shared = 0;  ///< of the ranks of a host: pages of the files, and matrices that were computed
};

/// Local; nothing is read. @throws Error(input) as InitialWeights for a tensor that is missing or of another
/// shape
template <class Real>
WeightBytes weight_bytes(const LoadedModel& model, const Study& study);

}  // namespace tangram
