// Which instruction sets this processor, the operating system and this build have.
#pragma once

#include "tower.h"

namespace claprt {

const char* available_names();                       // separated by commas, the fastest first
const InstructionSet* available_set(const char* name);  // the fastest for NULL; NULL if it is not available

}  // namespace claprt
