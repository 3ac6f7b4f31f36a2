# The CPU kernels with their tests and nothing that needs a library: for instruction sets that this machine emulates
# (tools/arm_kernels.sh).
corral_module(base   DIRS base                LINK Threads::Threads m)
corral_module(tensor DIRS tensor tensor/quant LINK corral_base)
add_library(corral_kernels STATIC src/backend/cpu/kernels.c src/backend/kv_layout.c)
target_include_directories(corral_kernels PUBLIC ${CMAKE_SOURCE_DIR}/src)
target_link_libraries(corral_kernels PUBLIC corral_tensor)
corral_flags(corral_kernels)
corral_isa_sources(corral_kernels)

enable_testing()
foreach(t backend_matmul backend_attention)
  add_executable(test_${t} tests/kernels/${t}.c)
  target_include_directories(test_${t} PRIVATE ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/tests/support/cmocka_small)
  target_link_libraries(test_${t} PRIVATE corral_kernels)
  target_link_options(test_${t} PRIVATE -static) # an emulator has no folder of libraries
  corral_flags(test_${t})
  add_test(NAME ${t} COMMAND test_${t} quick)
endforeach()
