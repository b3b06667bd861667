# The demo on the CPU; its videos, features and report are kept in the volume "runs":
#   docker build -t snn-action .
#   docker run --rm -v runs:/runs snn-action
# Any other command goes behind the name: docker run --rm -v runs:/runs snn-action init --list
# On a GPU, with the CUDA build of PyTorch that fits the driver:
#   docker build -t snn-action:cuda --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
#   docker run --rm --gpus all -v runs:/runs snn-action:cuda
FROM python:3.12-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# On a GPU, Triton compiles the code that launches its kernels.
RUN case "$TORCH_INDEX" in \
    */cpu) ;; \
    *) apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* ;; \
    esac

WORKDIR /opt/snn-action
COPY constraints.txt ./
RUN grep -E '^(torch|torchvision)==' constraints.txt > torch.txt \
    && pip install --no-cache-dir --extra-index-url "$TORCH_INDEX" -r torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY src src
RUN pip install --no-cache-dir -c constraints.txt .

RUN useradd --create-home snn && mkdir /runs && chown snn /runs
USER snn
WORKDIR /runs
ENTRYPOINT ["snn-action"]
CMD ["run"]
