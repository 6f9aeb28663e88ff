# `make demo` and `make test` are all a newcomer needs; both stand on `make setup`.

PYTHON ?= python3
PORT ?= 8765
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
TRAINING := $(VENV)/.training

KILLS ?= 200

.PHONY: help setup train-setup demo test lint format vectors lock clean chaos bench soak profile vllm-check

help: ## 이 목록
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

setup: $(INSTALLED) ## .venv에 모두 설치하고 모델을 받기 (다시 해도 됨)
	@$(BIN)/deepbot models fetch

train-setup: setup $(TRAINING) ## 학습에 쓰는 것까지 설치하기 (torch, transformers …)

demo: setup ## 토큰 없이 이 컴퓨터에서 딥봇과 대화 (PORT=번호)
	@exec $(BIN)/deepbot demo --port $(PORT)

test: train-setup ## 모든 테스트 (SQLite, Postgres, 브라우저, 학습)
	@$(BIN)/python -m pytest

lint: $(TRAINING) ## ruff와 mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

chaos: setup ## 봇을 KILLS번(200) 죽이며 빠지거나 두 번 가는 답이 없는지 (약 15분)
	@$(BIN)/python -m tests.load.chaos --kills $(KILLS) --setting sqlite
	@$(BIN)/python -m tests.load.chaos --kills $(KILLS) --setting replicas

bench: train-setup ## 빠르기: 가장 단순한 봇, 원래의 검색과 학습, transformers와 나란히, 비율로; 견적의 한 단계; 대화 찾기
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[bench]'
	@$(BIN)/python -m tests.load.bench
	@$(BIN)/python -m tests.load.steps
	@$(BIN)/python -m tests.load.retrieval
	@$(BIN)/python -m tests.load.voice
	@$(BIN)/python -m tests.load.review --messages 200000
	@$(BIN)/python -m tests.load.training
	@$(BIN)/python -m tests.load.embedded

soak: setup ## 10분 동안 50명: 메모리와 할 일이 늘지 않는지
	@$(BIN)/python -m tests.load.soak

profile: setup ## 차례 하나의 시간이 어디로 가는지
	@$(BIN)/python -m tests.load.profile

vllm-check: train-setup ## 진짜 vLLM을 CPU에서: 어댑터, 관문, 상담, 끊기, 32명 (.vllm-venv에 3.5 GB; 약 10분)
	@$(BIN)/python -m tests.vllm.check

format: $(INSTALLED) ## 코드 모양 맞추기
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

vectors: $(INSTALLED) ## 지식(starter.csv 등)을 바꾼 뒤 딸려 가는 벡터를 다시
	@$(BIN)/python -m inference.knowledge.vectors

lock: ## 지금 .venv의 판을 constraints.txt에 적기
	@$(BIN)/python -m pip freeze --exclude-editable > constraints.txt

clean: ## .venv와 데모의 대화를 지우기 (가게의 데이터는 두고)
	rm -rf $(VENV) var/demo var/playground

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "딥봇에는 Python 3.11 이상이 필요해요. 다른 Python은 PYTHON=경로로 알려 주세요." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "가상 환경을 만들지 못했어요. Python의 venv 모듈과 디스크 공간을 확인해 주세요." >&2; exit 1; }
	@rm -f $(VENV)/pip.log
	@$(BIN)/python -m pip install --disable-pip-version-check --log $(VENV)/pip.log \
	    --constraint constraints.txt --editable '.[dev]' || \
	  { if grep -qs "No space left" $(VENV)/pip.log; \
	    then echo "디스크가 가득 차서 설치하지 못했어요." >&2; \
	    else echo "패키지를 설치하지 못했어요. 패키지 저장소에 연결되는지 확인해 주세요 (자세한 기록: $(VENV)/pip.log)." >&2; fi; exit 1; }
	@touch $@

$(TRAINING): $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable '.[dev,train,checks]' || \
	  { echo "학습에 쓰는 패키지를 설치하지 못했어요. 연결과 디스크(GPU가 있는 곳에서는 5 GB쯤)를 확인해 주세요." >&2; exit 1; }
	@touch $@
