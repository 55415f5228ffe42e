# The demo:    docker build -t pada-agent . && docker run --rm -v pada-cache:/home/pada/.cache -v pada-runs:/home/pada/pada-agent/runs pada-agent
# Its report:  docker run --rm -v pada-runs:/home/pada/pada-agent/runs pada-agent cat runs/demo/report.html > report.html
# A run:       docker run --rm -v pada-cache:/home/pada/.cache -v "$PWD":/work -w /work -e OPENAI_API_KEY pada-agent pada run mytask.yaml
# The server:  the demo's line with -p 127.0.0.1:2024:2024, and after the image: langgraph dev --host 0.0.0.0 --no-browser --no-reload
#
# Model-written code is confined by Landlock and seccomp inside the container too; `pada check` says what is confined.
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git libgomp1 make \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home pada

USER pada
WORKDIR /home/pada/pada-agent
ENV PATH=/home/pada/pada-agent/.venv/bin:$PATH PYTHONUNBUFFERED=1

# What is installed changes seldom, so it comes first. torch is the CPU build; for CUDA give another --build-arg TORCH_INDEX.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY --chown=pada constraints.txt ./
RUN python -m venv .venv \
    && pip install --no-cache-dir --index-url "$TORCH_INDEX" --extra-index-url https://pypi.org/simple torch==2.13.0 -c constraints.txt

COPY --chown=pada . .
RUN pip install --no-cache-dir -e '.[studio,providers,data]' -c constraints.txt \
    && mkdir --parents runs /home/pada/.cache

CMD ["sh", "-c", "pada models pull smollm2-135m-instruct qwen2.5-coder-1.5b-instruct all-mpnet-base-v2 && pada run configs/demo.yaml"]
