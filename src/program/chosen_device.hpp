#pragma once
#include <memory>
#include <string>

#include "tangram/device/device.hpp"
#include "tangram/session/session.hpp"

namespace tangram {

/// What --device asks for, which the first rank says: "cpu": nullptr, this machine's cores; "cuda": a GPU,
/// the ranks of a host take its GPUs in turn; "auto": GPUs where there are any. Collective.
/// @throws Error(study) on every rank where "cuda" finds none, or only some ranks see one
std::unique_ptr<ProductBackEnd> chosen_device(const std::string& device, const Session& session);

}  // namespace tangram
