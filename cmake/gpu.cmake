# The shared objects of the GPU backends, from the same kernels in src/backend/gpu/dev (see docs/gpu.md):
#   corral_sim.so   the kernels on the CPU, for tests; needs g++
#   corral_cuda.so  the kernels by nvcc; where the toolkit is not found, the build says so and goes on
# Nothing links them: the program opens them at run time.
include(CheckLanguage)

option(CORRAL_CUDA "Build the CUDA backend where the toolkit is found" ON)
set(CORRAL_CUDA_ARCHS "80;90a" CACHE STRING "Compute capabilities to compile for")
set(GPU_DIR ${CMAKE_SOURCE_DIR}/src/backend/gpu)
file(GLOB gpu_kernels CONFIGURE_DEPENDS ${GPU_DIR}/dev/*.cu)
list(REMOVE_ITEM gpu_kernels ${GPU_DIR}/dev/runtime_cuda.cu)
add_custom_target(gpu_targets) # what is installed, as far as it can be built here

# The simulator switches stacks by hand, which the thread sanitizer cannot follow.
check_language(CXX)
if(CMAKE_CXX_COMPILER AND NOT CORRAL_FUZZ AND NOT CORRAL_SANITIZE MATCHES "thread" AND CMAKE_C_COMPILER_ID STREQUAL "GNU")
  enable_language(CXX)
endif()
function(corral_sim_flags target)
  target_compile_definitions(${target} PRIVATE SIM)
  target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR}/src)
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON CXX_STANDARD 17 CXX_EXTENSIONS ON)
  target_compile_options(${target} PRIVATE -xc++ -Wall -Wextra -Wno-unknown-pragmas
    -fno-exceptions -fno-rtti -fno-threadsafe-statics -fvisibility=hidden -fno-strict-aliasing -ffp-contract=off ${ARGN})
  if(CORRAL_WERROR)
    target_compile_options(${target} PRIVATE -Werror)
  endif()
endfunction()
# corral_sim(TARGET FOLDER SOURCES... FLAGS...): FOLDER/corral_sim.so from these sources, the kernels with these flags
function(corral_sim target folder)
  cmake_parse_arguments(A "" "" "SOURCES;FLAGS" ${ARGN})
  add_library(${target}_kernels OBJECT ${gpu_kernels})
  set_source_files_properties(${gpu_kernels} PROPERTIES LANGUAGE CXX)
  corral_sim_flags(${target}_kernels ${A_FLAGS})
  add_library(${target} MODULE $<TARGET_OBJECTS:${target}_kernels> ${A_SOURCES})
  corral_sim_flags(${target})
  set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME corral_sim LIBRARY_OUTPUT_DIRECTORY ${folder})
  target_link_libraries(${target} PRIVATE Threads::Threads m)
endfunction()
if(CMAKE_CXX_COMPILER_LOADED AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
  set(CMAKE_CXX_FLAGS_RELWITHDEBINFO "-O1 -g1")
  if(CCACHE)
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CCACHE})
  endif()
  set(sim_sources ${GPU_DIR}/sim/sim.cc ${GPU_DIR}/sim/hopper.cc ${GPU_DIR}/sim/runtime_sim.cc)
  set(sanitize)
  if(CORRAL_SANITIZE)
    set(sanitize -fsanitize=${CORRAL_SANITIZE} -fno-sanitize-recover=all)
  endif()
  corral_sim(corral_sim ${CMAKE_BINARY_DIR} SOURCES ${sim_sources} FLAGS ${sanitize})
  set_target_properties(corral_sim PROPERTIES LINKER_LANGUAGE C) # nothing of libstdc++ is used
  target_compile_options(corral_sim PRIVATE ${sanitize})
  target_link_options(corral_sim PRIVATE ${sanitize})
  if(NOT CORRAL_SANITIZE) # sim/race.cc stands in for the library of -fsanitize=thread
    corral_sim(corral_sim_race ${CMAKE_BINARY_DIR}/race SOURCES ${sim_sources} ${GPU_DIR}/sim/race.cc FLAGS -fsanitize=thread)
    set(CORRAL_SIM_RACE ON)
    add_library(sim_planted_kernels OBJECT ${GPU_DIR}/sim/planted.cc)
    corral_sim_flags(sim_planted_kernels -fsanitize=thread)
    add_executable(sim_planted $<TARGET_OBJECTS:sim_planted_kernels> ${GPU_DIR}/sim/sim.cc ${GPU_DIR}/sim/hopper.cc
      ${GPU_DIR}/sim/race.cc)
    corral_sim_flags(sim_planted)
    target_link_libraries(sim_planted PRIVATE Threads::Threads m)
  endif()
  set(CORRAL_SIM_TARGET corral_sim)
else()
  message(STATUS "No g++, or a build that it does not fit: the GPU kernels are not tested")
endif()

find_package(CUDAToolkit QUIET)
if(CORRAL_CUDA AND CUDAToolkit_FOUND AND NOT CORRAL_SANITIZE AND NOT CORRAL_FUZZ)
  message(STATUS "CUDA ${CUDAToolkit_VERSION}: building corral_cuda.so for ${CORRAL_CUDA_ARCHS}")
  string(REPLACE ";" "+" archs "${CORRAL_CUDA_ARCHS}")
  set(flags -std=c++17 -O3 -I${CMAKE_SOURCE_DIR}/src -Xcompiler -fPIC,-fvisibility=hidden,-Wall -DCORRAL_CUDA_ARCHS=${archs})
  if(CORRAL_WERROR) # a spilled register is a warning, and so an error
    list(APPEND flags -Werror all-warnings -Xptxas --warn-on-spills)
  endif()
  if("90a" IN_LIST CORRAL_CUDA_ARCHS)
    list(APPEND flags -DCORRAL_SM90A)
  endif()
  foreach(a ${CORRAL_CUDA_ARCHS})
    list(APPEND flags -gencode arch=compute_${a},code=sm_${a})
  endforeach()
  set(objects)
  set(gpu_ccache)
  if(CCACHE)
    set(gpu_ccache ${CCACHE})
  endif()
  foreach(f ${gpu_kernels} ${GPU_DIR}/dev/runtime_cuda.cu)
    get_filename_component(n ${f} NAME_WE)
    set(o ${CMAKE_BINARY_DIR}/cuda/${n}.o)
    add_custom_command(OUTPUT ${o} DEPENDS ${f} ${CMAKE_SOURCE_DIR}/cmake/no_serialized_wgmma.sh DEPFILE ${o}.d COMMENT "nvcc ${n}.cu"
      COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/cuda
      COMMAND sh ${CMAKE_SOURCE_DIR}/cmake/no_serialized_wgmma.sh
              ${gpu_ccache} ${CUDAToolkit_NVCC_EXECUTABLE} ${flags} -MD -MF ${o}.d -c ${f} -o ${o} VERBATIM)
    list(APPEND objects ${o})
  endforeach()
  add_custom_command(OUTPUT ${CMAKE_BINARY_DIR}/corral_cuda.so DEPENDS ${objects} COMMENT "corral_cuda.so"
    COMMAND ${CUDAToolkit_NVCC_EXECUTABLE} -shared -cudart static -o ${CMAKE_BINARY_DIR}/corral_cuda.so ${objects} VERBATIM)
  add_custom_target(corral_cuda ALL DEPENDS ${CMAKE_BINARY_DIR}/corral_cuda.so)
  add_dependencies(gpu_targets corral_cuda)
  install(FILES ${CMAKE_BINARY_DIR}/corral_cuda.so DESTINATION ${CMAKE_INSTALL_LIBDIR}/corral
    PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE OPTIONAL)
elseif(NOT CORRAL_SANITIZE AND NOT CORRAL_FUZZ)
  message(STATUS "CUDA toolkit not found, or CORRAL_CUDA off: building without the CUDA backend")
endif()

# make bench-gpu
add_executable(gpu_kernels EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/gpu_kernels.c)
target_link_libraries(gpu_kernels PRIVATE corral_backend)
corral_flags(gpu_kernels)
add_executable(shape_model EXCLUDE_FROM_ALL ${CMAKE_SOURCE_DIR}/bench/shape_model.c)
target_link_libraries(shape_model PRIVATE corral_format)
corral_flags(shape_model)
